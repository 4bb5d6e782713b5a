"""Programs compiled quickly, whatever their speed: most of the time of these tests is compiling."""

import importlib.metadata


def quick_xla_flags(devices):
    """The environment variable XLA_FLAGS of a process with so many CPU devices."""
    flags = [
        f"--xla_force_host_platform_device_count={devices}",
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
    ]
    if importlib.metadata.version("jaxlib").startswith("0.10."):
        # Halves the time; later versions do not know the flag, and end where it is given.
        flags.append("--xla_cpu_use_fusion_emitters=false")
    return " ".join(flags)
