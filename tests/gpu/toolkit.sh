# To be sourced: finds nvcc and the libcupti that belongs to it; exits with 2 where they are missing.
gpu_tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || { echo "$0: nvcc is missing" >&2; exit 2; }
toolkit=$(cd "$(dirname "$(readlink -f "$nvcc")")/.." && pwd)
header=$(find -L "$toolkit" -name cupti.h 2>/dev/null | head -1)
library=$(find -L "$toolkit" -name 'libcupti.so.1[23]' 2>/dev/null | head -1)
if [ -z "$library" ]; then
  library=$(python3 -c 'import glob, site; print(*[f for p in site.getsitepackages() for f in glob.glob(p + "/nvidia/cu13/lib/libcupti.so.13")][:1])')
  [ -n "$header" ] || header=$(dirname "$library")/../include/cupti.h
fi
[ -f "$header" ] && [ -f "$library" ] || { echo "$0: CUPTI is missing" >&2; exit 2; }
# The benchmarks use CUDA's own libraries; ours finds CUPTI beside them, or is told.
export LD_LIBRARY_PATH=$(dirname "$library"):$toolkit/lib64${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

build_floor() { # OUT
  gcc -O2 -shared -fPIC -I"$(dirname "$header")" -I"$toolkit/include" "$gpu_tests/floor.c" -o "$1" "$library" \
    -Wl,-rpath,"$(dirname "$library")" -lpthread
}
build_small() { # OUT
  "$nvcc" -O2 -cudart shared "$gpu_tests/small_kernels.cu" -o "$1"
}
