#!/bin/sh
# Makes the guest: image.sh FOLDER writes FOLDER/vmlinuz and FOLDER/initrd from Debian's packages, without root. Everything
# that runs in the guest and was not built here is of one Debian release, also libc: it must not be older than that of the
# machine that built the agent. Nothing of it is installed on this machine.
set -eu
here=$(dirname "$(readlink -f "$0")")
folder=$(readlink -f "$1")
release=trixie
packages="busybox-static ibverbs-providers iproute2 libc6 libcap2 libgcc-s1 libmnl0 libssl3t64 libstdc++6 libzstd1 zlib1g"
modules="virtio_pci 9pnet_virtio 9p dummy rdma_rxe rdma_ucm"
# rdma_rxe asks for this by name, which module dependencies do not show; without, no rxe link can be made.
modules="$modules crc32_generic"

work=$folder/work
rm -rf "$work"
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/debs" "$work/kernel" "$work/root"
cd "$work"

# A list of sources of our own, and state beside it: the machine's are not touched.
cat >apt.conf <<END
Dir::Etc::sourcelist "$work/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$work/apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$work/apt";
APT::Architecture "amd64";
APT::Architectures "amd64";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
END
# The mirror that this machine uses, if it is a Debian; what it lacks, Debian's own has.
own=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Label: Debian' | head -n 1)
export APT_CONFIG="$work/apt.conf"
for mirror in $own http://deb.debian.org/debian; do
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >sources.list
  apt-get update -qq && break
done
kernel=$(apt-cache depends linux-image-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
[ -n "$kernel" ] || { echo "image.sh: no mirror gave Debian $release's list of packages" >&2; exit 1; }
(cd debs && apt-get download -qq "$kernel" $packages)

dpkg-deb -x debs/linux-image-*.deb kernel
rm debs/linux-image-*.deb
[ -e kernel/lib ] || ln -s usr/lib kernel/lib
version=${kernel#linux-image-}
cp "kernel/boot/vmlinuz-$version" vmlinuz
depmod -b kernel "$version"

cd root
mkdir -p dev etc host kvpath nixl proc run sys tmp usr/bin usr/lib usr/lib64 usr/sbin
for link in bin lib lib64 sbin; do ln -s "usr/$link" $link; done
for deb in ../debs/*.deb; do dpkg-deb -x "$deb" .; done
rm -rf usr/share usr/lib/x86_64-linux-gnu/gconv
# In the order in which they are to be loaded.
mkdir modules
for module in $modules; do
  modprobe -d ../kernel -S "$version" --show-depends "$module"
done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | awk '!seen[$0]++' | while read -r path; do
  name=$(basename "$path" .xz)
  case $path in *.xz) xz -dc "$path" >"modules/$name" ;; *) cp "$path" "modules/$name" ;; esac
  echo "/modules/$name"
done >modules/order
# The libibverbs of NIXL's wheel looks for drivers where it was built. Debian's driver registers with the libibverbs that
# it is linked to, which must be the same copy.
ln -s ../lib/x86_64-linux-gnu/libibverbs usr/lib64/libibverbs
cp "$here/init" init
find . | cpio --quiet --create --format=newc --owner=0:0 | gzip -1 >../initrd

cd "$folder"
mv work/vmlinuz work/initrd .
rm -rf work
