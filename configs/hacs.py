"""KT-MGFN on HACS Segments (200 classes, 37,600 training and 6,000 validation videos), with clips of HACS Clips to learn from.

    python -m tal_jax.main --config=configs/hacs.py:kt_mgfn --config.data.annotations=FILE --config.data.features=FOLDER
    python -m tal_jax.main --config=configs/hacs.py:kt_mgfn,row=cascade …          a row of the report's Table 2, here without clips

FILE is HACS_segments_v1.1.1.json, which has the ActivityNet schema, its subsets "training" and "validation". Clips are further recordings in
it, of the subset "clips", each with one annotation from its start to its end; as published it has none. Without clips train the rows up to
`cascade`, or set --config.data.clips_subset= to nothing: then the training actions are cut out, by their times. FOLDER holds one NAME.npy
(T, C) a recording, of any encoder: --mode=extract --config.data.stride_frames=16 --config.data.snippet_frames=16 writes I3D's.

Published, average mAP over tIoU 0.5:0.05:0.95 on validation: simple activation sequences 15.3, with dilations 20.7, cascade 22.6,
transfer 25.2, boundary regression 28.6 (probably with several encoders). HACS was not at hand and the report leaves many
numbers open (docs/kt_mgfn.md), so nothing of this could be checked here. A GPU is what to train on.
"""

from tal_jax.config import split_variant
from tal_jax.data import features
from tal_jax.systems.kt_mgfn.config import kt_mgfn_config


def get_config(variant="kt_mgfn"):
    """variant: 'kt_mgfn', and after ',row=' one of ABLATION in systems/kt_mgfn/config.py."""
    system, options = split_variant(variant, ("kt_mgfn",), row="boundary")
    config = kt_mgfn_config(options["row"])
    config.name = f"hacs_{system}_{options['row']}"
    config.data = features.data_config(stride_frames=0, allow_missing=True)
    config.data.update(train_subset="training", test_subset="validation", clips_subset="clips" if config.model.transfer else "")
    return config
