"""What is tried next and what is cut short: functions of the trials so far, by Optuna.

Optuna's samplers and pruners keep a state. Here both are made anew for each question, from the
seed, the number of the trial and the recorded trials, so that a sweep which was killed goes on
as if it had not been.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from torchloupe.studies.sweep.book import distribution_of, import_optuna
from torchloupe.studies.sweep.plan import Plan
from torchloupe.studies.sweep.space import count_combinations, list_combinations
from torchloupe.system.counter_rng import hash_parts

_SAMPLER = 0x5A3E  # tells these random numbers apart from all others of the seed
_DRAWS = 20  # before a combination is looked for that was not tried yet
_USUAL_STARTUP = 10  # random trials before the first that is chosen by the model of the results
REDUCTION = 3  # the best third goes on at each rung
_RUNG = "completed_rung_"  # of Optuna's pruners


def propose(plan: Plan, frozen: Sequence[Any]) -> dict[str, Any] | None:
    """Values for the next trial by TPE (Bergstra et al. 2011); None if all were tried.

    `frozen`: all trials that Optuna recorded, by number. No combination is tried twice.
    """
    optuna = import_optuna()
    tried = {_key(plan, trial.params) for trial in frozen}
    distributions = {each.name: distribution_of(each) for each in plan.space}
    startup = min(_USUAL_STARTUP, max(4, plan.trials // 3)) if plan.trials else _USUAL_STARTUP
    for draw in range(_DRAWS):
        seed = int(hash_parts(plan.seed, _SAMPLER, len(frozen), draw)) % 2**32
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup)
        study = optuna.create_study(sampler=sampler, direction=plan.direction)
        study.add_trials(frozen)
        found: dict[str, Any] = study.ask(distributions).params
        if _key(plan, found) not in tried:
            return found
    if count_combinations(plan.space) is None:
        return found
    left = (each for each in list_combinations(plan.space) if _key(plan, each) not in tried)
    return next(left, None)


def judge(
    plan: Plan, frozen: Sequence[Any], number: int, points: Mapping[int, float]
) -> tuple[bool, dict[str, float]]:
    """Whether trial `number` is cut short at the last of its `points`, and the rungs it reached.

    ASHA (Li et al. 2020) or Hyperband (Li et al. 2018). The trial's own evaluations are gone
    through from the first, so that the answer does not depend on what was asked before.
    """
    if plan.prune == "none":
        return False, {}
    optuna = import_optuna()
    storage = optuna.storages.InMemoryStorage()
    study = optuna.create_study(storage=storage, study_name="sweep", direction=plan.direction)
    pruner = (
        optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=REDUCTION)
        if plan.prune == "asha"
        else optuna.pruners.HyperbandPruner(min_resource=1, reduction_factor=REDUCTION)
    )
    place = storage.get_study_id_from_name("sweep")
    for trial in frozen:
        if trial.number == number:
            trial = optuna.trial.FrozenTrial(  # noqa: PLW2901
                number=number,
                trial_id=-1,
                state=optuna.trial.TrialState.RUNNING,
                value=None,
                datetime_start=trial.datetime_start,
                datetime_complete=None,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={},
                system_attrs={},
                intermediate_values={},
            )
        storage.create_new_trial(place, template_trial=trial)
    own = storage.get_trial_id_from_study_id_trial_number(place, number)
    is_cut = False
    for point, value in sorted(points.items()):
        storage.set_trial_intermediate_value(own, point, value)
        is_cut = bool(pruner.prune(study, storage.get_trial(own)))
    attributes = storage.get_trial(own).system_attrs
    return is_cut, {name: v for name, v in attributes.items() if name.startswith(_RUNG)}


def _key(plan: Plan, values: Mapping[str, Any]) -> tuple[str, ...]:
    """The values of a trial as text, which is equal for equal ones."""
    found = (values.get(dimension.name) for dimension in plan.space)
    return tuple(f"{v:.12g}" if isinstance(v, float) else str(v) for v in found)
