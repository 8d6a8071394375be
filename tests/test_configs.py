"""Every variant that a config file offers can be built, and other ones are refused in a sentence."""

import importlib

import pytest

from tal_jax.checkpoints import remember_run, trained_run
from tal_jax.errors import DataError
from tal_jax.systems import SYSTEMS
from tal_jax.systems.ecm.config import TABLE_4
from tal_jax.systems.kt_mgfn.config import ABLATION

VARIANTS = {
    "sbhar": ["dw_afsd", "afsd", "demo", *(f"ecm,row={row}" for row in TABLE_4), *(f"kt_mgfn,row={row}" for row in ABLATION)],
    "thumos": ["dw_afsd", "afsd,input=flow", "dw_afsd,input=features", "ecm", "ecm,row=pre"],
    "activitynet": ["dw_afsd", "afsd,input=flow", "ecm", "ecm,version=1.2", "ecm,version=1.2,row=post"],
    "hacs": ["kt_mgfn", "kt_mgfn,row=cascade"],
    "folder": ["dw_afsd", "afsd,input=rgb", "ecm", "ecm,row=pre"],
    "shapes": ["dw_afsd", "afsd"],
}


def get_config(name, *variant):
    return importlib.import_module(f"configs.{name}").get_config(*variant)


@pytest.mark.parametrize("name, variant", [(name, variant) for name, variants in VARIANTS.items() for variant in variants])
def test_a_variant_builds(name, variant):
    config = get_config(name, variant)
    assert config.system in SYSTEMS and config.name.startswith(name)
    SYSTEMS[config.system].build(config, 3)


@pytest.mark.parametrize("name", VARIANTS)
def test_other_systems_and_options_are_refused(name):
    with pytest.raises(DataError, match="the system 'foo' is not one of .*afsd|the system 'foo' is not one of kt_mgfn"):
        get_config(name, "foo")
    with pytest.raises(DataError, match="'foo' is no option of the variant"):
        get_config(name, f"{VARIANTS[name][0]},foo=1")


@pytest.mark.parametrize("system", ["afsd", "dw_afsd"])
def test_afsd_has_no_use_for_snippets(system):
    config = get_config("sbhar", system)
    config.window.snippets = 100
    with pytest.raises(DataError, match=f"config.window.snippets is 100; {system} sees the features of a window themselves"):
        SYSTEMS[system].build(config, 3)


@pytest.mark.parametrize("system, rows", [("ecm", TABLE_4), ("kt_mgfn", ABLATION)])
def test_a_run_of_any_row_is_used_with_the_default_config(tmp_path, system, rows):
    for row in rows:
        remember_run(get_config("sbhar", f"{system},row={row}"), ("a", "b"), tmp_path / row)
        config, classes = trained_run(get_config("sbhar", system), tmp_path / row)
        SYSTEMS[system].build(config, len(classes))
    with pytest.raises(DataError, match=f"holds a run of {system}; name it after the config file"):
        trained_run(get_config("sbhar"), tmp_path / row)
