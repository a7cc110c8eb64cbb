"""How people call the columns of splits, groups and class names, in lower case with `_`."""

import re

SPLIT_COLUMNS = (
    *("split", "splits", "set", "subset", "usage", "phase", "partition", "data_set", "dataset"),
    *("data_split", "split_name", "fold", "folds", "kfold", "k_fold", "cv", "cv_fold", "part"),
    *("split_index", "split_id", "split_no", "fold_id"),
    *("eval", "is_eval", "evaluation"),
    *("holdout", "hold_out", "is_holdout", "heldout"),
    *("stage", "purpose", "role", "tvt"),
    *("train_test", "train_val_test", "train_test_split", "is_train", "is_training"),
    *("is_training_image", "train", "training", "val", "valid", "validation", "test", "testing"),
    *("is_valid", "is_val", "is_validation", "is_test", "is_testing", "in_train", "in_test"),
)
FOLD_COLUMNS = ("fold", "folds", "kfold", "k_fold", "cv", "cv_fold", "fold_id")
# Columns of what several images may be of: `patient`, `case_id`, `StudyInstanceUID`.
_OF_GROUPS = re.compile(
    r"group|(patient|subject|participant|volunteer|person|individual|donor|animal|specimen|writer"
    r"|lesion|case|slide|wsi|video|clip|seq|sequence|session|study)(_instance)?"
    r"(_?(id|uid|no|nr|num|number|key|code|name))?|group_?id|user_id|mrn|pid|subj(_id)?"
    # what says nothing alone, such as `tree`
    r"|(eye|exam|examination|accession|series|scan|biopsy|tumou?r|nodule|plant|tree)(_instance)?"
    r"_?(id|uid|no|nr|num|number|key|code)"
    r"|(source|original|parent)_(image|img|file|filename|image_id|id)|empi(_anon|_id)?"
    r"|(anon|anonymized|deid)_?(patient|subject|case|study|exam)_?id"
)
# Columns that may say the same, or anything else.
_MAYBE_GROUPS = re.compile(
    r".*_u?id|(source|original|origin|parent|location|loc|site|place|camera|cam|device|household"
    r"|family|farm|field|plot|station|trap|batch|album|author|photographer|owner|tile|scene|frame"
    r"|series|scan|exam|eye|plant|tree|hospital|center|centre|scanner|flight|transect)"
    r"(_?(no|nr|num|number|key|code|name|image|file))?"
)
# Columns that name classes, beside one that numbers them.
NAME_COLUMNS = (
    *("label_name", "labelname", "class_name", "classname", "category_name", "label_text", "name"),
    *("label_str", "class_label", "text_label", "class_names", "class", "category", "species"),
)
TRAIN_FLAGS = ("is_train", "is_training", "is_training_image", "in_train", "istrain")


def surely_names_groups(plain: str) -> bool:
    """Whether cells of a column so called tell images apart by what they are of, and no class."""
    is_id = re.search("_?(id|uid|no|nr|num|number|key|code)$", plain) is not None
    words = ("group", "patient", "subject", "participant", "source", "original", "parent", "empi")
    return plain.startswith(words) or is_id


def names_groups(plain: str) -> bool:
    """Whether a column's plain name says that its cells tell what images are of."""
    return _OF_GROUPS.fullmatch(plain) is not None


def may_name_groups(plain: str) -> bool:
    """Whether a column so called may say what images are of; it may say something else as well."""
    return _MAYBE_GROUPS.fullmatch(plain) is not None
