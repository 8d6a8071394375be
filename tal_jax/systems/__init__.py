"""The table of systems: what training, evaluation and prediction need to know of each (see interface.py)."""

from tal_jax.data import labelled_windows, whole_recordings, windows
from tal_jax.errors import DataError
from tal_jax.ranges import require_fields
from tal_jax.systems import actionformer, afsd, candidates, ecm, kt_mgfn, linear, pgcn, sliding, tcanet, weak
from tal_jax.systems.actionformer import config as actionformer_config
from tal_jax.systems.actionformer import decode as actionformer_decode
from tal_jax.systems.actionformer import losses as actionformer_losses
from tal_jax.systems.actionformer import optimizer as actionformer_optimizer
from tal_jax.systems.actionformer import published as actionformer_published
from tal_jax.systems.afsd import config as afsd_config
from tal_jax.systems.afsd import decode as afsd_decode
from tal_jax.systems.afsd import examples as afsd_examples
from tal_jax.systems.afsd import losses as afsd_losses
from tal_jax.systems.afsd import published as afsd_published
from tal_jax.systems.ecm import config as ecm_config
from tal_jax.systems.ecm import decode as ecm_decode
from tal_jax.systems.ecm import examples as ecm_examples
from tal_jax.systems.ecm import losses as ecm_losses
from tal_jax.systems.interface import System, trained_nowhere
from tal_jax.systems.kt_mgfn import config as kt_mgfn_config
from tal_jax.systems.kt_mgfn import decode as kt_mgfn_decode
from tal_jax.systems.kt_mgfn import examples as kt_mgfn_examples
from tal_jax.systems.kt_mgfn import losses as kt_mgfn_losses
from tal_jax.systems.kt_mgfn import optimizer as kt_mgfn_optimizer
from tal_jax.systems.linear import config as linear_config
from tal_jax.systems.linear import decode as linear_decode
from tal_jax.systems.linear import examples as linear_examples
from tal_jax.systems.linear import losses as linear_losses
from tal_jax.systems.pgcn import config as pgcn_config
from tal_jax.systems.pgcn import decode as pgcn_decode
from tal_jax.systems.pgcn import examples as pgcn_examples
from tal_jax.systems.pgcn import losses as pgcn_losses
from tal_jax.systems.pgcn import optimizer as pgcn_optimizer
from tal_jax.systems.pgcn import published as pgcn_published
from tal_jax.systems.sliding import config as sliding_config
from tal_jax.systems.sliding import decode as sliding_decode
from tal_jax.systems.sliding import examples as sliding_examples
from tal_jax.systems.sliding import pretrained as sliding_pretrained
from tal_jax.systems.tcanet import config as tcanet_config
from tal_jax.systems.tcanet import decode as tcanet_decode
from tal_jax.systems.tcanet import examples as tcanet_examples
from tal_jax.systems.tcanet import losses as tcanet_losses
from tal_jax.systems.tcanet import optimizer as tcanet_optimizer
from tal_jax.systems.tcanet import published as tcanet_published

AFSD = System(
    afsd.build,
    afsd_examples.training_examples,
    afsd_losses.loss,
    afsd_decode.decode,
    candidates.detections,
    suppress=afsd_decode.suppress,
    max_streams=2,
    choices=afsd_config.CHOICES,
    require_valid=afsd_config.require_valid,
    readings=afsd_config.READINGS,
    problems=labelled_windows.problems,
    published=afsd_published.afsd_detector,
    deployment=afsd_decode.deployment,
)
ECM = System(
    ecm.build,
    ecm_examples.training_examples,
    ecm_losses.loss,
    ecm_decode.decode,
    ecm_decode.detections,
    suppress=ecm_decode.suppress,
    choices=ecm_config.CHOICES,
    require_valid=ecm_config.require_valid,
    readings=ecm_config.READINGS,
    problems=weak.problems,
    numbers_of_cell=ecm_config.numbers_of_cell,
    deployment=ecm_decode.deployment,
)
KT_MGFN = System(
    kt_mgfn.build,
    kt_mgfn_examples.training_examples,
    kt_mgfn_losses.loss,
    kt_mgfn_decode.decode,
    kt_mgfn_decode.detections,
    suppress=candidates.suppress_hard,
    optimizer=kt_mgfn_optimizer.make_optimizer,
    choices=kt_mgfn_config.CHOICES,
    require_valid=kt_mgfn_config.require_valid,
    readings=kt_mgfn_config.READINGS,
    problems=weak.problems,
    deployment=kt_mgfn_decode.deployment,
)
PGCN = System(
    pgcn.build,
    pgcn_examples.training_examples,
    pgcn_losses.loss,
    pgcn_decode.decode,
    pgcn_decode.detections,
    windows=pgcn_examples.test_windows,
    suppress=candidates.keep_all,
    optimizer=pgcn_optimizer.make_optimizer,
    max_streams=2,
    choices=pgcn_config.CHOICES,
    require_valid=pgcn_config.require_valid,
    readings=pgcn_config.READINGS,
    problems=pgcn_examples.problems,
    published=pgcn_published.pgcn_detector,
)
TCANET = System(
    tcanet.build,
    tcanet_examples.training_examples,
    tcanet_losses.loss,
    tcanet_decode.decode,
    tcanet_decode.detections,
    windows=tcanet_examples.test_windows,
    suppress=candidates.keep_all,
    optimizer=tcanet_optimizer.make_optimizer,
    choices=tcanet_config.CHOICES,
    require_valid=tcanet_config.require_valid,
    readings=tcanet_config.READINGS,
    published=tcanet_published.tcanet_detector,
)
ACTIONFORMER = System(
    actionformer.build,
    whole_recordings.examples,
    actionformer_losses.loss,
    actionformer_decode.decode,
    candidates.detections,
    windows=actionformer.test_windows,
    suppress=actionformer_decode.suppress,
    optimizer=actionformer_optimizer.make_optimizer,
    average_decay=actionformer_optimizer.average_decay,
    choices=actionformer_config.CHOICES,
    require_valid=actionformer_config.require_valid,
    readings=actionformer_config.READINGS,
    problems=actionformer.problems,
    published=actionformer_published.actionformer_detector,
    numbers_of_cell=actionformer_config.numbers_of_cell,
    deployment=actionformer.deployment,
)
LINEAR = System(
    linear.build,
    linear_examples.training_examples,
    linear_losses.loss,
    linear_decode.decode,
    linear_decode.detections,
    suppress=candidates.suppress_hard,
    choices=linear_config.CHOICES,
    require_valid=windows.require_no_gaps,
    problems=labelled_windows.problems,
    deployment=linear_decode.deployment,
)
SLIDING = System(
    sliding.build,
    trained_nowhere,
    trained_nowhere,
    sliding_decode.decode,
    sliding_decode.detections,
    windows=sliding_examples.snippets,
    suppress=candidates.suppress_hard,
    choices=sliding_config.CHOICES,
    require_valid=sliding_config.require_valid,
    deployment=sliding_decode.deployment,
    stored_run=sliding_pretrained.stored_run,
    variables=sliding_pretrained.variables,
    learns=False,
)

SYSTEMS = {
    "afsd": AFSD,
    "dw_afsd": AFSD,
    "ecm": ECM,
    "kt_mgfn": KT_MGFN,
    "pgcn": PGCN,
    "pgcn_dw": PGCN,
    "tcanet": TCANET,
    "linear": LINEAR,
    "sliding": SLIDING,
    "actionformer": ACTIONFORMER,
    "dw_actionformer": ACTIONFORMER,
}


def require_valid(config, training):
    """Raises DataError for the first field of a config, and of its first stage, whose value cannot be.

    training: whether the fields that only training reads must also go together.
    """
    for prefix, part in (("config.", config), ("config.first_stage.", config.get("first_stage"))):
        if part is None:
            continue
        try:
            system = SYSTEMS[part.system]
            require_fields(part, system.choices, system.readings)
            if training:
                system.require_valid(part)
        except DataError as error:
            raise DataError(str(error).replace("config.", prefix)) from error
