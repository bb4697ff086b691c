"""The trainer of recurrent policies: PPO with an LSTM on the kernel, judged out of sample, exported to ONNX."""

import os

# JAX reads them when it is first imported. One core a process: seeds go side by side on Ray, and sums that threads
# share would depend on how many there are.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
