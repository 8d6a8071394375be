"""What a person reads of an error."""

import pickle

from tal_jax.errors import DataError


def test_a_sentence_is_on_one_line_and_shows_all_of_its_characters():
    error = DataError("a.csv: line 3 has '\x1b[2J', 'caf\u00e9\u2028' and '\ud800'\nwhich is no number.")
    assert str(error) == r"a.csv: line 3 has '\x1b[2J', 'café\u2028' and '\ud800' which is no number."
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
