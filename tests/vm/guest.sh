#!/bin/sh
# Runs in the guest: makes an RDMA device in software, records NIXL transfers over it, pushed and pulled, and leaves what is
# to be checked in /host, where the host sees it.
set -eu
say() { echo "$1 $2" >>/host/facts; }
sent() { cat /sys/class/infiniband/rxe0/ports/1/hw_counters/sent_pkts; }

say kernel "$(uname -r)"
ip link set lo up
ip link add dummy0 mtu 4200 type dummy
ip addr add 10.0.0.1/24 dev dummy0
ip link set dummy0 up
rdma link add rxe0 type rxe netdev dummy0
gids=/sys/class/infiniband/rxe0/ports/1/gids
waits=0
until grep -qs ffff:0a00:0001 $gids/*; do
  waits=$((waits + 1))
  [ $waits -lt 50 ] || { echo "rxe0 has no GID of the address of dummy0"; exit 1; }
  sleep 0.2
done
# The driver's libibverbs is to be the copy that NIXL's wheel brings: see image.sh.
ln -s /nixl/nixl_cu12.libs/libibverbs-* /usr/lib/x86_64-linux-gnu/libibverbs.so.1

doctor=0
/kvpath/kvpath-agent doctor >/host/doctor || doctor=$?
say doctor $doctor
# Probes are dear on an emulated processor; none is to be taken off for that.
budget=1000
libraries=/nixl/.nixl_cu12.mesonpy.libs
# Named, so that not even the first call is missed.
set -- --library $libraries/libnixl.so --library $libraries/plugins/libplugin_UCX.so
for library in /nixl/nixl_cu12.libs/libucp-* /nixl/nixl_cu12.libs/libibverbs-* /nixl/nixl_cu12.libs/ucx/libuct_ib.so.0.0.0; do
  set -- "$@" --library "$library"
done
for op in write read; do
  # Decode looks for what arrives without sleeping, as engines do.
  case $op in write) spin="--spin --poll-us 20000" ;; *) spin= ;; esac
  mkdir /host/$op
  record=0
  say $op.sent_before "$(sent)"
  /kvpath/kvpath-agent record --gpu off --with ucx,rdma --max-overhead $budget --out /tmp/$op "$@" -- \
    /kvpath/kvpath-workload run --op $op $spin --tls rc --stages 1 --scatter --nixl /nixl --truth /host/$op/truth.tsv \
    >/host/$op/said 2>&1 || record=$?
  say $op.sent_after "$(sent)"
  say $op.record $record
  cp -r /tmp/$op /host/$op/run
done
