"""Labels in JSON files: Label Studio's export and projects of the VGG Image Annotator, version 3."""

import re

from tal_jax.data.annotations import require_number
from tal_jax.data.labels.rows import MEDIA_SUFFIXES, Labels, Row, chosen_names, recording_name
from tal_jax.data.labels.times import FROM_START, time_of
from tal_jax.errors import DataError

UPLOADED = re.compile(r"^[0-9a-f]{8}-")  # what Label Studio puts before the name of an uploaded file
CHECKBOX, OPTIONS = 2, (2, 3, 4)  # kinds of VIA's attributes: of several options; of options


def _field(entry, field, kind, where, default=None):
    """The value of a field of a JSON object, or the default. Raises DataError for a value of another kind."""
    value = entry.get(field, default) if isinstance(entry, dict) else None
    if not isinstance(value, kind):
        of = {dict: "an object", list: "a list", str: "a text"}[kind]
        raise DataError(
            f"{where}: field '{field}' must be {of}, found {value!r:.60}; export the labels again."
        )
    return value


def is_label_studio(content):
    """Whether the content of a JSON file is a list of Label Studio's tasks."""
    first = content[0] if isinstance(content, list) and content else None
    return isinstance(first, dict) and bool({"annotations", "completions", "annotation_id"} & {*first})


def read_label_studio(file, options):
    """The Labels of a JSON export of Label Studio: labels of time series and of sound, times as they are; of
    videos ("timelinelabels"), frames counted from 1, which need --fps.

    Of several annotations of a task the one that is marked as ground truth is read, or else the first.
    --label_column names the controls ("from_name") to read, with their choices; by default all are read that
    give labels.
    """
    found = Labels()
    if not isinstance(file.json, list):
        raise DataError(f"{file.path} must be a list of tasks, as Label Studio exports JSON.")
    for i, task in enumerate(file.json):
        where = f"{file.path}: task {task.get('id', i) if isinstance(task, dict) else i!r:.40}"
        if isinstance(task, dict) and "annotation_id" in task:
            raise DataError(f"{where}: this is the export JSON-MIN; export as JSON.")
        name, others = _task_names(found, task, i, where)
        annotations = _field(task, "annotations" if "annotations" in task else "completions", list, where)
        done = [a for a in annotations if isinstance(a, dict) and not a.get("was_cancelled")]
        done.sort(key=lambda annotation: not annotation.get("ground_truth"))
        if not done:
            found.drop("their task in Label Studio is not annotated", where)
            continue
        for _ in done[1:]:
            found.drop("they are further annotations of a task that is read once (Label Studio)", where)
        found.know(name, others=others)
        for j, region in enumerate(_field(done[0], "result", list, where)):
            _read_region(found, name, region, options, f"{where}, result {j}")
            file.label_columns.add(str(region.get("from_name")))
    return found


def _task_names(found, task, i, where):
    """(name, other names) of the recording of a task: of its data, or of the file that was uploaded, whose
    folder is but the number of a project.
    """
    data = _field(task, "data", dict, where)
    texts = [
        *(value for value in data.values() if isinstance(value, str)),
        str(task.get("file_upload") or ""),
    ]
    texts = [text for text in texts if re.split(r"\?x-", text.lower())[0].endswith(MEDIA_SUFFIXES)]
    if texts and not texts[0].startswith("/data/upload/"):
        found.name_media(texts[0], where)
    names = [UPLOADED.sub("", recording_name(text)) for text in texts] or [f"task{task.get('id', i)}"]
    return names[0], names[1:]


def _read_region(found, name, region, options, where):
    """Adds the rows of one result of Label Studio to the Labels `found`."""
    value, kind = _field(region, "value", dict, where, {}), str(region.get("type"))
    control = str(region.get("from_name"))
    if options.label_column and control not in options.label_column:
        found.drop("their control is not in --label_column (Label Studio)", where)
        return
    fields = [field for field in value if field.endswith("labels")]
    fields += ["choices"] if options.label_column and "choices" in value else []
    labels = [label for field in fields for label in _field(value, field, list, where)]
    if "ranges" in value:
        if not options.fps:
            raise DataError(f"{where}: labels of a video are in frames; say their rate with --fps.")
        spans = [
            [require_number(span.get(end), f"{where}: field '{end}'") for end in ("start", "end")]
            for span in _field(value, "ranges", list, where)
            if isinstance(span, dict)
        ]
        spans = [((start - 1) / options.fps, end / options.fps, FROM_START) for start, end in spans]
    elif fields and {"start", "end"} <= {*value} and "text" not in value:
        (start_sec, clock), (end_sec, _) = (time_of(str(value[end]), where) for end in ("start", "end"))
        spans = [(start_sec, end_sec, clock)]
        found.know(name, duration=region.get("original_length"))
    else:
        found.drop(f"they are no labelled spans of time but of the kind '{kind:.40}' (Label Studio)", where)
        return
    for start_sec, end_sec, clock in spans:
        for label in labels or [""]:
            found.rows.append(Row(name, str(label), start_sec, end_sec, where, clock))


def is_via(content):
    """Whether the content of a JSON file is a project of the VGG Image Annotator, version 3."""
    return isinstance(content, dict) and {"attribute", "metadata", "file", "view"} <= {*content}


def read_via(file, options):
    """The Labels of a project of VIA 3: its temporal segments; a marker of one time is a point.

    Labels are the values of all attributes of temporal segments, or of those that --label_column names.
    Regions of pictures are left out.
    """
    found, where = Labels(), file.path
    files, views = (_field(file.json, field, dict, where) for field in ("file", "view"))
    attributes = _field(file.json, "attribute", dict, where)
    for key, attribute in attributes.items():
        _field(attribute, "aname", str, f"{where}: attribute {key!r:.40}")
    temporal = [key for key in attributes if "_Z0_" not in str(attributes[key].get("anchor_id"))]
    temporal = [key for key in temporal if str(attributes[key].get("anchor_id")).endswith("_XY0")]
    asked = chosen_names([attributes[key]["aname"] for key in temporal], options, file, "temporal attribute")
    temporal = [key for key in temporal if attributes[key]["aname"] in asked]
    if len(temporal) > 1:
        listed = ", ".join(repr(attributes[key]["aname"]) for key in temporal)
        found.notes.append(f"{file.path}: the attributes {listed} all give labels (--label_column).")
    names = {view: _via_name(found, views[view], files, f"{where}: view {view!r:.40}") for view in views}
    for name in names.values():
        found.know(name)
    for key, segment in _field(file.json, "metadata", dict, where).items():
        here = f"{file.path}: metadata {key!r:.40}"
        times = [require_number(z, f"{here}: field 'z'") for z in _field(segment, "z", list, here)]
        if len(times) not in (1, 2) or _field(segment, "xy", list, here, []):
            found.drop("they are no spans of time but regions or properties (VIA)", here)
            continue
        name = names.get(str(segment.get("vid")))
        if name is None:
            raise DataError(f"{here}: field 'vid' names no view, found {segment.get('vid')!r:.40}.")
        values = _field(segment, "av", dict, here)
        labels = [label for k in temporal if k in values for label in _via_labels(attributes[k], values[k])]
        for label in labels or [""]:
            found.rows.append(Row(name, label, times[0], times[-1], here))
    return found


def _via_name(found, view, files, where):
    """The name of the recording that a view of VIA shows: that of its first file."""
    shown = [files.get(str(key)) for key in _field(view, "fid_list", list, where)]
    if not shown or shown[0] is None:
        raise DataError(f"{where}: field 'fid_list' names no file of the project.")
    return found.name_media(_field(shown[0], "fname", str, where), where)


def _via_labels(attribute, value):
    """The labels that the value of an attribute means: texts, or options by their numbers."""
    options = attribute.get("options")
    if attribute.get("type") not in OPTIONS or not isinstance(options, dict):
        return [str(value)]
    parts = str(value).split(",") if attribute["type"] == CHECKBOX else [str(value)]
    return [str(options.get(part, part)) for part in parts]
