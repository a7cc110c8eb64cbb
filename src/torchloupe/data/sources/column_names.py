"""How people call the columns of splits, groups and class names, in lower case with `_`."""

SPLIT_COLUMNS = (
    *("split", "splits", "set", "subset", "usage", "phase", "partition", "data_set", "dataset"),
    *("data_split", "split_name", "fold", "folds", "kfold", "k_fold", "cv", "cv_fold", "part"),
    *("split_index", "split_id", "split_no", "fold_id"),
    *("stage", "purpose", "role", "tvt"),
    *("train_test", "train_val_test", "train_test_split", "is_train", "is_training"),
    *("is_training_image", "train", "training", "val", "valid", "validation", "test", "testing"),
    *("is_valid", "is_val", "is_validation", "is_test", "is_testing", "in_train", "in_test"),
)
# Columns of what several images may be of, beside those that begin so.
GROUP_COLUMNS = (
    *("group", "patient", "patient_id", "patientid", "subject", "subject_id", "lesion_id"),
    *("participant", "participant_id", "case_id", "person_id", "slide_id", "video_id", "group_id"),
)
# Columns that name classes, beside one that numbers them.
NAME_COLUMNS = (
    *("label_name", "labelname", "class_name", "classname", "category_name", "label_text", "name"),
    *("label_str", "class_label", "text_label", "class_names", "class", "category", "species"),
)
TRAIN_FLAGS = ("is_train", "is_training", "is_training_image", "in_train", "istrain")
