#!/usr/bin/env bash
# A Kubernetes cluster of one node on this machine, with real pods, Services, DNS and volumes. It needs root and Debian.
#
#   cluster.sh up              start it, unless it runs, and print where its kubeconfig is
#   cluster.sh load FILE...    import images, each an archive of "docker save" or of an OCI layout
#   cluster.sh exec COMMAND    run a command inside, such as: ctr -n k8s.io containers list
#   cluster.sh down            end it and delete its data
#   cluster.sh runs            exit with 0 if it runs
#   cluster.sh lacks           print what this machine lacks for a cluster, a line each; installs packages of Debian
#
# It runs in namespaces of its own for processes, mounts, network, names and IPC. This script is their first process: when it is
# killed, the kernel ends all containers, mounts, addresses and packet filters inside. A pair of interfaces leads from the machine to
# pods and Services. There is no route from inside to anywhere but the machine.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
data=${CLUSTER_DIR:-$top/bin/cluster}
node=10.244.0.1 pods=10.244.0.0/24 services=10.96.0.0/16 # the node's address is that of the bridge of the pods
outside=10.244.255.1 inside=10.244.255.2 interface=mandrill0
cgroup=mandrill-cluster
folders=(/var/lib/{cni,kubelet} /var/log/containers) # written to whatever the settings
export KUBECONFIG=$data/kubeconfig

say() { echo "cluster: $*" >&2; }
fail() { say "$@"; exit 1; }

# packages installs what is missing from Debian, and prints what it cannot.
packages() {
  local missing=() pair
  for pair in containerd:containerd runc:runc iptables:iptables conntrack:conntrack openssl:openssl ip:iproute2 unshare:util-linux pgrep:procps; do
    command -v "${pair%:*}" >/dev/null || missing+=("${pair#*:}")
  done
  [ -x /usr/lib/cni/bridge ] || missing+=(containernetworking-plugins)
  [ ${#missing[@]} -gt 0 ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "these packages are missing, and there is no apt-get to install them: ${missing[*]}"
  elif ! "$here/../progress.sh" "Installing ${missing[*]}" sh -c \
    'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@"' apt "${missing[@]}"; then
    echo "these packages are missing, and apt-get could not install them: ${missing[*]}"
  fi
}

hierarchies() { # of control groups; version 1 has one for each controller
  if [ -e /sys/fs/cgroup/cgroup.controllers ]; then echo /sys/fs/cgroup/; else printf '%s\n' /sys/fs/cgroup/*/; fi
}

# lacks prints what this machine lacks for pods, a line each.
lacks() {
  [ "$(uname -s)" = Linux ] || { echo "pods need Linux"; return; }
  [ "$(id -u)" = 0 ] || { echo "containers need root, and this is the user $(id -un)"; return; }
  local lacking folder controller
  lacking=$(packages)
  [ -z "$lacking" ] || { echo "$lacking"; return; }
  unshare --pid --fork --mount --mount-proc --net --uts --ipc true 2>/dev/null ||
    { echo "this user may not make namespaces (unshare --pid --mount --net --uts --ipc fails)"; return; }
  # shellcheck disable=SC2016 # for the inner shell
  unshare --net sh -c 'ip link add name one type bridge && ip link add name two type veth peer name three' 2>/dev/null ||
    echo "the kernel has no bridges or veth pairs (ip link add fails in a namespace of its own)"
  unshare --net iptables --table nat --list >/dev/null 2>&1 || echo "the kernel has no packet filter (iptables --table nat --list fails)"
  while read -r folder; do
    if { mkdir -p "$folder$cgroup/lacks" && rmdir "$folder$cgroup/lacks"; } 2>/dev/null; then
      rmdir "$folder$cgroup" 2>/dev/null || true # in use if a cluster runs
    else
      echo "$folder is not writable, and pods need control groups"
    fi
    for controller in cpu memory pids; do
      grep -qw "$controller" /proc/self/cgroup "$folder/cgroup.controllers" 2>/dev/null || echo "the control groups have no controller for $controller"
    done
  done < <(hierarchies) | sort -u
  folder=$(mktemp -d -p "$(dirname "$data")")
  mkdir "$folder"/{lower,upper,work,merged}
  unshare --mount mount -t overlay overlay -o "lowerdir=$folder/lower,upperdir=$folder/upper,workdir=$folder/work" "$folder/merged" 2>/dev/null ||
    echo "overlays cannot be mounted below $(dirname "$data"), where images are unpacked: set CLUSTER_DIR to a folder of another file system"
  rm -rf "$folder"
}

# certificates makes an authority, a certificate of the API server, and one of the administrator, as whom everything in here acts.
certificates() (
  mkdir -p "$data/pki" && cd "$data/pki"
  make() { openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -keyout "$1.key" -out "$1.crt" "${@:2}" 2>/dev/null; }
  signed() { make "$@" -CA ca.crt -CAkey ca.key -addext basicConstraints=CA:FALSE; }
  make ca -subj /CN=ca -addext keyUsage=critical,keyCertSign
  signed server -subj /CN=kube-apiserver -addext \
    "subjectAltName=DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:$node,IP:10.96.0.1"
  signed admin -subj /O=system:masters/CN=admin -addext extendedKeyUsage=clientAuth
  openssl ecparam -name prime256v1 -genkey -noout -out accounts.key
)

configuration() {
  cat >"$KUBECONFIG" <<END
apiVersion: v1
kind: Config
current-context: mandrill
contexts: [{name: mandrill, context: {cluster: mandrill, user: admin}}]
clusters: [{name: mandrill, cluster: {server: "https://$node:6443", certificate-authority-data: $(base64 -w0 "$data/pki/ca.crt")}}]
users:
- name: admin
  user: {client-certificate-data: $(base64 -w0 "$data/pki/admin.crt"), client-key-data: $(base64 -w0 "$data/pki/admin.key")}
END
  mkdir -p "$data"/{log,pid,cni,registries/_default}
  : >"$data/resolv.conf"
  echo 'server = "http://127.0.0.1:1"' >"$data/registries/_default/hosts.toml" # an image that was not loaded fails at once
  cat >"$data/cni/pods.conflist" <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{
  "type": "bridge", "bridge": "pods", "isGateway": true, "hairpinMode": true,
  "ipam": {"type": "host-local", "dataDir": "$data/addresses", "ranges": [[{"subnet": "$pods", "rangeStart": "10.244.0.10"}]],
           "routes": [{"dst": "0.0.0.0/0"}]}}]}
END
  # restrict_oom_score_adj: without CAP_SYS_RESOURCE no container starts otherwise.
  cat >"$data/containerd.toml" <<END
version = 2
root = "$data/containerd"
[plugins."io.containerd.internal.v1.opt"]
  path = "$data/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  disable_apparmor = true
  restrict_oom_score_adj = true
  registry = {config_path = "$data/registries"}
  cni = {bin_dir = "/usr/lib/cni", conf_dir = "$data/cni"}
  containerd = {runtimes = {runc = {runtime_type = "io.containerd.runc.v2"}}}
END
  # Hard eviction is low because the disk and the memory are shared with other work on this machine.
  cat >"$data/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {x509: {clientCAFile: $data/pki/ca.crt}}
clusterDomain: cluster.local
clusterDNS: [$node]
resolvConf: $data/resolv.conf
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
podLogsDir: $data/pods
volumePluginDir: $data/plugins
cgroupDriver: cgroupfs
cgroupRoot: /$cgroup
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
serializeImagePulls: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 100Mi, imagefs.available: 100Mi}
syncFrequency: 10s
END
}

start() { # program argument...
  "$@" >"$data/log/${1##*/}.log" 2>&1 </dev/null &
  echo $! >"$data/pid/${1##*/}" # as seen from inside
}

# inside is the first process of the namespaces.
inside() {
  local folder
  for folder in /run "${folders[@]}"; do mount -t tmpfs "cluster${folder//\//-}" "$folder"; done # /run has the sockets of containerd
  ip link set lo up
  ip link add pods type bridge
  ip addr add $node/24 dev pods
  ip link set pods up
  ip route add $services dev pods # kube-proxy rewrites the addresses of Services; without a route there is nothing to rewrite
  echo 1 >/proc/sys/net/ipv4/ip_forward
  start containerd --config "$data/containerd.toml"
  start etcd --data-dir "$data/etcd" --unsafe-no-fsync --log-level warn
  start kube-apiserver --bind-address $node --advertise-address $node --etcd-servers http://127.0.0.1:2379 --service-cluster-ip-range $services \
    --authorization-mode RBAC --allow-privileged --client-ca-file "$data/pki/ca.crt" \
    --tls-cert-file "$data/pki/server.crt" --tls-private-key-file "$data/pki/server.key" --service-account-issuer https://kubernetes.default.svc \
    --service-account-key-file "$data/pki/accounts.key" --service-account-signing-key-file "$data/pki/accounts.key" \
    --kubelet-client-certificate "$data/pki/admin.crt" --kubelet-client-key "$data/pki/admin.key" --kubelet-preferred-address-types InternalIP
  until kubectl get --raw /readyz >/dev/null 2>&1; do sleep 0.1; done
  # With the default limits on requests, the controllers of a fresh cluster start 5 seconds later.
  start kube-controller-manager --kubeconfig "$KUBECONFIG" --leader-elect=false --use-service-account-credentials \
    --kube-api-qps 500 --kube-api-burst 1000 --service-account-private-key-file "$data/pki/accounts.key" --root-ca-file "$data/pki/ca.crt"
  start kube-scheduler --kubeconfig "$KUBECONFIG" --leader-elect=false
  start kube-proxy --kubeconfig "$KUBECONFIG" --proxy-mode iptables --cluster-cidr $pods --hostname-override node \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
  start "$top/bin/addons" --kubeconfig "$KUBECONFIG" --dns $node:53 --volumes "$data/volumes"
  start kubelet --config "$data/kubelet.yaml" --kubeconfig "$KUBECONFIG" --hostname-override node --node-ip $node --root-dir "$data/kubelet"
  wait # also for containers, whose parent this process becomes
}

# pid prints the first process of the namespaces, as seen from outside, if it runs.
pid() {
  local pid
  pid=$(cat "$data/pid/inside" 2>/dev/null) && tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" | grep -qF "cluster.sh inside $data " && echo "$pid"
}

await() { # what seconds command...
  local what=$1 end=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    [ $SECONDS -lt $end ] && pid >/dev/null || { tail -n 3 "$data"/log/*.log >&2; fail "$what did not come up"; }
    sleep 0.1
  done
}

up() {
  if pid >/dev/null; then
    say "it runs already: export KUBECONFIG=$KUBECONFIG"
    return
  fi
  local lacking assets programs
  mkdir -p "$(dirname "$data")"
  lacking=$(lacks)
  [ -z "$lacking" ] || fail "this machine cannot run pods. Set E2E_KUBECONFIG to another cluster for the tests, or change this:
$lacking"
  ! ip link show $interface >/dev/null 2>&1 || fail "another one runs on this machine, which has the interface $interface"
  assets=$("$here/build.sh" etcd kube-apiserver)
  programs=$("$here/build.sh" node)
  (cd "$top" && . hack/toolchain.sh && CGO_ENABLED=0 hack/progress.sh "Building the addons of the cluster" \
    go build -trimpath -ldflags "-s -w" -o bin/ ./hack/cluster/addons ./hack/cluster/pause)
  export PATH=$programs:$assets:/usr/sbin:/sbin:$PATH
  trap '[ $? = 0 ] || down' EXIT
  rm -rf "$data"
  SECONDS=0
  certificates
  configuration
  hierarchies | sed "s/$/$cgroup/" | xargs mkdir -p
  mkdir -p "${folders[@]}"
  setsid unshare --pid --fork --kill-child --mount --mount-proc --net --uts --ipc "$here/cluster.sh" inside "$data" >"$data/log/inside.log" 2>&1 </dev/null &
  until pgrep -P $! >"$data/pid/inside"; do kill -0 $! || fail "unshare ended: $(cat "$data/log/inside.log")"; sleep 0.1; done
  ip link add $interface type veth peer name outside netns "$(cat "$data/pid/inside")"
  ip addr add $outside/30 dev $interface
  ip link set $interface up
  ip route add $pods via $inside dev $interface
  ip route add $services via $inside dev $interface
  run ip addr add $inside/30 dev outside
  run ip link set outside up
  await containerd 120 run ctr version
  "$here/image.sh" "$data/pause.tar" localhost/pause:1 "$top/bin/pause"
  load "$data/pause.tar"
  await "the API server" 120 kubectl get --raw /readyz
  await "the node" 120 kubectl wait --for=condition=Ready node/node --timeout=0s
  kubectl apply -f - >/dev/null <<END
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: folders, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}
provisioner: mandrill-operator.io/folders
volumeBindingMode: WaitForFirstConsumer
END
  say "ready after $SECONDS s: export KUBECONFIG=$KUBECONFIG PATH=$programs:\$PATH"
}

run() { nsenter --target "$(pid)" --pid --mount --net --uts --ipc "$@"; }

load() {
  for file in "$@"; do run ctr --namespace k8s.io images import "$(realpath "$file")" >/dev/null; done
}

down() {
  local pid
  pid=$(pid) || { say "it does not run"; return 0; }
  kill -9 "$pid"
  while [ -d "/proc/$pid" ]; do sleep 0.1; done
  ip link delete $interface 2>/dev/null || true # the kernel deletes it, too, a little later
  local end=$((SECONDS + 120)) # until the last processes have left their groups
  until ! compgen -G "/sys/fs/cgroup/$cgroup" && ! compgen -G "/sys/fs/cgroup/*/$cgroup"; do
    find /sys/fs/cgroup/{,*/}$cgroup -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ $SECONDS -lt $end ] || fail "control groups are still in use: $(compgen -G "/sys/fs/cgroup/*/$cgroup")"
    sleep 0.1
  done >/dev/null
  rmdir "${folders[@]}" 2>/dev/null || true
  rm -rf "$data"
}

case ${1:-} in
  up | down) "$1" ;;
  runs) pid >/dev/null ;;
  lacks) mkdir -p "$(dirname "$data")" && lacks ;;
  inside) inside ;;
  load) pid >/dev/null || fail "it does not run"; shift; load "$@" ;;
  exec) pid >/dev/null || fail "it does not run"; shift; run "$@" ;;
  *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
