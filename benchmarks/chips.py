"""The chips that programs are compiled for: how XLA's compilers are told of them, and what they can do.

None of them needs to be there: the compilers are packages, see requirements-compile.txt.
"""

import os
import pathlib
from typing import NamedTuple

from jax.experimental import topologies

from tal_jax.errors import DataError

GIB, GB = 2**30, 10**9
FOLDER = pathlib.Path(".compilers")
INSTALL = "pip install --no-deps --target={} -r requirements-compile.txt"

# What XLA asks a GPU for, of an H100 SXM, with the CUDA and cuDNN that jax[cuda12] brings.
GPU_TARGET = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: %(bytes_per_sec)d
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: %(memory_bytes)d
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "%(name)s"
"""


class Chip(NamedTuple):
    """A kind of chip, and how many of them work together.

    Attributes:
      platform: 'tpu' or 'cuda'.
      topology: as its compiler writes it.
      name: of one chip, as JAX has it.
      number: of chips.
      peak_flops: dict precision -> operations a second; float32 as JAX multiplies it by default: with
        bfloat16 on a TPU, TF32 on a GPU.
      bytes_per_sec: of its memory.
      memory_bytes: that a program may fill.
      launch_sec: ASSUMED, the time in which a kernel starts, however little it does.
    """

    platform: str
    topology: str
    name: str
    number: int
    peak_flops: dict
    bytes_per_sec: float
    memory_bytes: float
    launch_sec: float


# Peaks, bandwidths and memories: vendors' data sheets, dense; of TPUs the memory that XLA says it can fill.
# ASSUMED: a program may fill 95 % of a GPU, which XLA_PYTHON_CLIENT_MEM_FRACTION=0.95 gives it.
_TPU_V5E, _TPU_V5P = dict(float32=197e12, bfloat16=197e12), dict(float32=459e12, bfloat16=459e12)
_HOPPER = dict(float32=495e12, bfloat16=989e12)
CHIPS = {
    "v5e-16": Chip("tpu", "v5e:4x4", "TPU v5 lite", 16, _TPU_V5E, 819e9, 15.75 * GIB, 1e-6),
    "v5p-8": Chip("tpu", "v5p:2x2x1", "TPU v5", 4, _TPU_V5P, 2765e9, 95.73 * GIB, 1e-6),
    "h100": Chip("cuda", "1x1x1", "NVIDIA H100 80GB HBM3", 1, _HOPPER, 3352e9, 0.95 * 80 * GB, 3e-6),
    "h200x8": Chip("cuda", "1x1x8", "NVIDIA H200", 8, _HOPPER, 4800e9, 0.95 * 141 * GB, 3e-6),
}


def environment(folder):
    """The environment of a process that compiles, with the compilers of a folder.

    Raises DataError if they are not there.
    """
    folder = pathlib.Path(folder).absolute()
    cuda = folder / "nvidia" / "cuda_nvcc"
    if not (folder / "libtpu").is_dir() or not (cuda / "bin" / "ptxas").exists():
        raise DataError(
            f"The compilers are not in {folder}; run {INSTALL.format(folder)}, or name their folder with "
            "--compilers."
        )
    # In a folder of their own: JAX looks for a chip at each start where it finds them.
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    inherited = {name: text for name, text in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return inherited | {
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # several processes compile at once
        "JAX_PLATFORMS": "cpu",
        "PATH": f"{cuda / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": ":".join(filter(None, path)),
        "TPU_SKIP_MDS_QUERY": "1",  # no server is asked which TPU this machine has
        "XLA_FLAGS": f"--xla_gpu_autotune_level=0 --xla_gpu_cuda_data_dir={cuda}",  # it would time kernels
    }


def devices(chip):
    """Devices to compile for, of a Chip."""
    if chip.platform == "tpu":
        return topologies.get_topology_desc(platform="tpu", topology_name=chip.topology).devices
    target = GPU_TARGET % dict(
        bytes_per_sec=chip.bytes_per_sec, memory_bytes=chip.memory_bytes / 0.95, name=chip.name
    )
    of_gpus = dict(platform="cuda", topology_name="", topology=chip.topology, target_config=target)
    return topologies.get_topology_desc(**of_gpus).devices
