import json

import numpy as np
import pytest

from configs import folder
from tal_jax import plan


@pytest.fixture(autouse=True)
def memory(monkeypatch):
    """A machine of 32 GiB."""
    monkeypatch.setattr(plan, "memory_bytes", lambda _: 2**35)


@pytest.fixture
def files(tmp_path):
    """Two recordings of two channels, one of which does not vary, 20 samples a second."""
    rng, database = np.random.default_rng(0), {}
    (tmp_path / "features").mkdir()
    for name, subset in (("a", "train"), ("b", "test")):
        rows = np.stack([rng.normal(7, 3, 2000), np.full(2000, 5.0)], axis=1)
        np.save(tmp_path / "features" / f"{name}.npy", rows.astype(np.float32))
        actions = [{"label": "x", "segment": [5.0 * i, 5.0 * i + 2]} for i in range(1, 15)]
        database[name] = {"subset": subset, "fps": 20, "duration": 100.0, "annotations": actions}
    (tmp_path / "labels.json").write_text(json.dumps({"database": database}))
    config = folder.get_config()
    config.data.update(annotations=str(tmp_path / "labels.json"), features=str(tmp_path / "features"))
    return tmp_path, config
