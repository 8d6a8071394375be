"""The table of systems: what training, evaluation and prediction need to know of each (see interface.py)."""

from tal_jax.systems import afsd
from tal_jax.systems.afsd import decode as afsd_decode
from tal_jax.systems.afsd import examples as afsd_examples
from tal_jax.systems.afsd import losses as afsd_losses
from tal_jax.systems.interface import System

AFSD = System(afsd.build, afsd_examples.training_examples, afsd_losses.loss, afsd_decode.decode, afsd_decode.fuse)

SYSTEMS = {"afsd": AFSD, "dw_afsd": AFSD}
