import numpy as np
import pytest

from tal_jax.data.loader import chunks, pad_batch, stack, training_batches
from tal_jax.errors import DataError


def make_example(item, rng):
    return {"item": np.int64(item), "noise": rng.standard_normal(3).astype(np.float32)}


def draw(count, **options):
    batches = training_batches(range(5), make_example, **dict(batch_size=2, seed=0) | options)
    return [next(batches) for _ in range(count)]


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def items_of(batches):
    return [int(item) for batch in batches for item in batch["item"][batch["sample_mask"] > 0]]


def test_every_item_once_an_epoch_in_a_new_order():
    epochs = [items_of(draw(12)[first : first + 3]) for first in (0, 3, 6, 9)]
    assert [sorted(epoch) for epoch in epochs] == [[0, 1, 2, 3, 4]] * 4
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_last_batch_of_an_epoch_is_padded():
    batches = draw(6)
    for number, batch in enumerate(batches):
        assert batch["item"].shape == (2,) and batch["noise"].shape == (2, 3)
        np.testing.assert_array_equal(batch["sample_mask"], [1, 1] if number % 3 < 2 else [1, 0])
        assert batch["sample_mask"].dtype == np.float32
    for batch in batches[2::3]:
        assert batch["item"][0] == batch["item"][1]


def test_batches_per_epoch():
    for batch_size, expected in ((1, 5), (2, 3), (5, 1), (8, 1)):
        batches = draw(2 * expected, batch_size=batch_size)
        for epoch in (batches[:expected], batches[expected:]):
            assert sorted(items_of(epoch)) == [0, 1, 2, 3, 4] and all(items_of([one]) for one in epoch)


def test_a_seed_is_a_sequence():
    assert_same(draw(7), draw(7))
    assert items_of(draw(12)) != items_of(draw(12, seed=1))
    assert not np.array_equal(draw(1)[0]["noise"], draw(1, seed=1)[0]["noise"])


def test_examples_are_augmented_anew_each_epoch():
    noise = [batch["noise"][row] for batch in draw(6) for row in range(2) if batch["sample_mask"][row]]
    assert len(np.unique(noise, axis=0)) == 10


@pytest.mark.parametrize("start", [1, 2, 3, 4, 7])
def test_a_start_skips_as_many_batches(start):
    assert_same(draw(5, start=start), draw(start + 5)[start:])


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_threads_do_not_matter(threads):
    assert_same(draw(7, threads=threads), draw(7))


def test_an_error_in_an_example_reaches_the_caller_as_it_is():
    def fail(item, rng):
        raise DataError(f"Recording {item} is damaged.")

    with pytest.raises(DataError, match="Recording . is damaged"):
        next(training_batches(range(5), fail, batch_size=2, seed=0))


def test_chunks():
    drawn = []

    def numbers():
        for number in range(5):
            drawn.append(number)
            yield number

    parts = chunks(numbers(), 2)
    assert next(parts) == (0, 1)
    assert drawn == [0, 1]  # as needed, for recordings may be long
    assert list(parts) == [(2, 3), (4,)]
    assert list(chunks([], 2)) == []


def test_pad_batch():
    padded = pad_batch({"a": np.array([[1, 2], [3, 4]], np.int32)}, 4)
    np.testing.assert_array_equal(padded["a"], [[1, 2], [3, 4], [1, 2], [1, 2]])
    assert padded["a"].dtype == np.int32
    np.testing.assert_array_equal(padded["sample_mask"], [1, 1, 0, 0])
    np.testing.assert_array_equal(pad_batch({"a": np.zeros(3)}, 3)["sample_mask"], [1, 1, 1])


def test_examples_of_several_inputs():
    examples = [{"inputs": {"a": np.full(2, i), "b": np.float32(i)}, "label": i} for i in range(3)]
    batch = stack(examples)
    np.testing.assert_array_equal(batch["inputs"]["a"], [[0, 0], [1, 1], [2, 2]])
    assert (
        batch["inputs"]["b"].shape == batch["label"].shape == (3,)
        and batch["inputs"]["b"].dtype == np.float32
    )
    padded = pad_batch(batch, 4)
    np.testing.assert_array_equal(padded["inputs"]["a"], [[0, 0], [1, 1], [2, 2], [0, 0]])
    np.testing.assert_array_equal(padded["sample_mask"], [1, 1, 1, 0])
    np.testing.assert_array_equal(stack([np.zeros(2), np.ones(2)]), [[0, 0], [1, 1]])
    drawn = next(training_batches(range(3), lambda item, rng: examples[item], batch_size=2, seed=0))
    assert drawn["inputs"]["a"].shape == (2, 2) and drawn["inputs"]["b"].shape == (2,)


# Several processes


@pytest.mark.parametrize("num_items", [1, 7, 25, 36])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_every_item_once_an_epoch_for_any_number_of_processes(count, num_items):
    def draw_from(process):
        batches = training_batches(range(num_items), make_example, batch_size=12, seed=3, process=process)
        return [next(batches) for _ in range(3 * -(-num_items // 12))]

    alone, parts = draw_from((0, 1)), [draw_from((i, count)) for i in range(count)]
    for number, whole in enumerate(alone):
        shares = [part[number] for part in parts]
        assert all(len(share["item"]) == len(share["sample_mask"]) == 12 // count for share in shares)
        assert_same([{key: np.concatenate([share[key] for share in shares])[whole["sample_mask"] > 0] for key in whole}],
                    [{key: value[whole["sample_mask"] > 0] for key, value in whole.items()}])  # fmt: skip
        np.testing.assert_array_equal(
            np.concatenate([share["sample_mask"] for share in shares]), whole["sample_mask"]
        )
    per_epoch = len(alone) // 3
    for first in range(0, len(alone), per_epoch):
        seen = [item for part in parts for item in items_of(part[first : first + per_epoch])]
        assert sorted(seen) == list(range(num_items))


def test_a_process_makes_only_its_own_rows():
    made = []

    def remember(item, rng):
        made.append(item)
        return make_example(item, rng)

    next(training_batches(range(8), remember, batch_size=8, seed=0, threads=0, process=(1, 4)))
    assert len(made) == 2
