"""A trained run as an artefact: written, proved equal to the run, and opened again."""
