"""Small sets in the files of CIFAR-10 and CIFAR-100, for tests."""

import pickle

import numpy as np

NAMES = ["airplane", "automobile", "bird"]


def pixels(count, first=0):
    made = np.zeros((count, 3, 32, 32), np.uint8)
    made[:, 0] = (np.arange(count) + first)[:, None, None]
    made[:, 1, 3, 5] = 200
    return made


def dump(path, content):
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_python(folder, fine=False):
    folder.mkdir()
    label = b"fine_labels" if fine else b"labels"
    names = ("train", "test") if fine else ("data_batch_1", "data_batch_2", "test_batch")
    for number, name in enumerate(names):
        content = {b"data": pixels(4, 4 * number).reshape(4, -1), label: [0, 1, 2, 1]}
        if fine:
            content[b"coarse_labels"] = [0, 0, 0, 0]
        dump(folder / name, content)
    listed = {"fine_label_names" if fine else "label_names": NAMES}
    dump(folder / ("meta" if fine else "batches.meta"), listed)
    return folder


def write_binary(folder, fine=False):
    folder.mkdir()
    labels = np.array([[0, 1, 2, 1]], np.uint8).T
    if fine:
        labels = np.concatenate([np.zeros_like(labels), labels], axis=1)
    names = ("train", "test") if fine else ("data_batch_1", "data_batch_2", "test_batch")
    for number, name in enumerate(names):
        table = np.concatenate([labels, pixels(4, 4 * number).reshape(4, -1)], axis=1)
        (folder / f"{name}.bin").write_bytes(table.tobytes())
    listed = "fine_label_names.txt" if fine else "batches.meta.txt"
    (folder / listed).write_text("\n".join(NAMES) + "\n\n")
    return folder
