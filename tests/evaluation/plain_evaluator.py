"""All protocols in plain Python, one detection at a time, as one reads them in the evaluators: slow and easy
to check.
"""

import functools


def plain_ap(annotations, detections, subset, tious, protocol):
    """{class: [AP in [0, 1] at each of tious]}; detections must lie on recordings of the subset."""
    recordings = annotations.subset(subset).recordings
    truths = {}  # class -> recording -> [(start, end)]
    for name, recording in recordings.items():
        for label, segment in zip(recording.labels.tolist(), recording.segments_sec.tolist(), strict=True):
            truths.setdefault(annotations.classes[label], {}).setdefault(name, []).append(segment)
    ambiguous = {name: recording.ignored_sec.tolist() for name, recording in recordings.items()}
    count = sum(len(segments) for of_class in truths.values() for segments in of_class.values())
    evaluate = {
        "activitynet": _activitynet,
        "thumos14": _thumos14,
        "detad": functools.partial(_activitynet, count=count / len(truths)),
    }[protocol]
    aps = {}
    for label in truths:
        rows = [(name, d) for name in sorted(detections) for d in detections[name]]
        found = [(name, *d["segment"], d["score"]) for name, d in rows if d["label"] == label]
        if protocol == "detad":
            found = [row for row in found if row[2] > row[1]]
        found.sort(key=lambda row: -row[3])
        aps[label] = [evaluate(found, truths[label], ambiguous, tiou) for tiou in tious]
    return aps


def _activitynet(found, truths, _, threshold, count=None):
    taken, hits = set(), []
    for name, start, end, _score in found:
        candidates = []
        for number, (truth_start, truth_end) in enumerate(truths.get(name, [])):
            overlap = max(min(end, truth_end) - max(start, truth_start), 0)
            union = (truth_end - truth_start) + (end - start) - overlap
            candidates.append((overlap / union if overlap else 0, number))
        hit = False
        for tiou, number in sorted(candidates, reverse=True):
            if tiou >= threshold and (name, number) not in taken:
                taken.add((name, number))
                hit = True
                break
        hits.append(hit)
    num_truths = sum(map(len, truths.values()))
    recall, precision, num_hits = [0.0], [0.0], 0
    for rank, hit in enumerate(hits, 1):
        num_hits += hit
        recall.append(num_hits / num_truths)
        weight = (count or num_truths) / num_truths
        precision.append(weight * num_hits / (weight * num_hits + rank - num_hits))
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def _thumos14(found, truths, ambiguous, threshold):
    by_recording = {}  # recording -> ranks of its detections
    for rank, row in enumerate(found):
        by_recording.setdefault(row[0], []).append(rank)
    hits = set()
    for name, ranks in by_recording.items():
        for truth in truths.get(name, []):
            free = [rank for rank in ranks if rank not in hits]
            if free:
                best = max(free, key=lambda rank: (_overlap_over_span(found[rank][1:3], truth), -rank))
                if _overlap_over_span(found[best][1:3], truth) > threshold:
                    hits.add(best)
    num_hits, num_kept, total = 0, 0, 0.0
    for rank, row in enumerate(found):
        if rank in hits:
            num_hits, num_kept = num_hits + 1, num_kept + 1
            total += num_hits / num_kept
        elif not any(_overlap_over_span(row[1:3], interval) for interval in ambiguous.get(row[0], [])):
            num_kept += 1
    return total / sum(map(len, truths.values()))


def _overlap_over_span(a, b):
    (a_start, a_end), (b_start, b_end) = sorted(a), sorted(b)
    overlap = min(a_end, b_end) - max(a_start, b_start)
    return overlap / (max(a_end, b_end) - min(a_start, b_start)) if overlap > 0 else 0.0
