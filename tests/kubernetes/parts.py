# SPDX-License-Identifier: Apache-2.0
"""The cluster's programs: their flags and files. What the flags are for that are not plain, is said beside them."""
import json
import os
import shutil

from node import ADDRESS

NODE_NAME = "node1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/16"
API_CLUSTER_IP = "10.96.0.1"
DNS_CLUSTER_IP = "10.96.0.10"
DNS_DOMAIN = "cluster.local"
PAUSE_IMAGE = "localhost/pause:1"
CNI_PROGRAMS = "/usr/lib/cni"


def commands(folder, binaries, node):
    """The command lines by name, in the order of their start."""
    pki = folder / "pki"

    def kubeconfig(name):
        return f"--kubeconfig={pki / name}.kubeconfig"

    return {
        "etcd": [binaries / "etcd", f"--data-dir={folder / 'etcd'}", "--unsafe-no-fsync", "--log-level=warn",
                 "--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
                 "--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
                 "--initial-cluster=default=http://127.0.0.1:2380"],
        "kube-apiserver": [
            binaries / "kube-apiserver", "--etcd-servers=http://127.0.0.1:2379", f"--advertise-address={ADDRESS}",
            f"--service-cluster-ip-range={SERVICES}", "--authorization-mode=Node,RBAC", "--allow-privileged=true",
            "--enable-admission-plugins=NodeRestriction", "--kubelet-preferred-address-types=InternalIP",
            f"--client-ca-file={pki}/ca.crt", f"--tls-cert-file={pki}/apiserver.crt",
            f"--tls-private-key-file={pki}/apiserver.key", f"--kubelet-certificate-authority={pki}/ca.crt",
            f"--kubelet-client-certificate={pki}/apiserver-kubelet.crt", f"--kubelet-client-key={pki}/apiserver-kubelet.key",
            f"--service-account-issuer=https://kubernetes.default.svc.{DNS_DOMAIN}",
            f"--service-account-key-file={pki}/sa.pub", f"--service-account-signing-key-file={pki}/sa.key"],
        "kube-controller-manager": [
            binaries / "kube-controller-manager", kubeconfig("kube-controller-manager"), "--use-service-account-credentials",
            "--allocate-node-cidrs", f"--cluster-cidr={PODS}", "--leader-elect=false", f"--root-ca-file={pki}/ca.crt",
            f"--service-account-private-key-file={pki}/sa.key", f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key"],
        "kube-scheduler": [binaries / "kube-scheduler", kubeconfig("kube-scheduler"), "--leader-elect=false"],
        "containerd": [shutil.which("containerd") or "containerd", f"--config={folder}/containerd.toml"],
        "kubelet": [binaries / "kubelet", kubeconfig("kubelet"), f"--config={folder}/kubelet.json",
                    f"--hostname-override={NODE_NAME}", f"--node-ip={ADDRESS}", f"--root-dir={folder}/kubelet"],
        # The sysctls of connection tracking can't be written in a network namespace of every kernel.
        "kube-proxy": [binaries / "kube-proxy", kubeconfig("kube-proxy"), "--proxy-mode=nftables",
                       f"--hostname-override={NODE_NAME}", f"--cluster-cidr={PODS}", "--conntrack-max-per-core=0",
                       "--conntrack-tcp-timeout-established=0s", "--conntrack-tcp-timeout-close-wait=0s"],
    }


def write_files(folder, node):
    """The files that the command lines name."""
    (folder / "cni").mkdir(exist_ok=True)
    # Each pod is routed to: through a bridge, Services would want the kernel to filter there, too.
    (folder / "cni/10-pods.conflist").write_text(json.dumps({
        "cniVersion": "1.0.0", "name": "pods", "plugins": [
            {"type": "ptp", "ipMasq": False, "ipam": {
                "type": "host-local", "dataDir": str(folder / "addresses"), "ranges": [[{"subnet": PODS}]],
                "routes": [{"dst": "0.0.0.0/0"}]}},
            {"type": "portmap", "capabilities": {"portMappings": True}, "backend": "nftables"}]}))
    (folder / "resolv.conf").write_text(f"nameserver {DNS_CLUSTER_IP}\n")
    (folder / "containerd.toml").write_text(CONTAINERD.format(folder=folder, pause=PAUSE_IMAGE, cni=CNI_PROGRAMS,
                                                              restrict_oom=str(not _may_lower_oom()).lower()))
    pki = folder / "pki"
    (folder / "kubelet.json").write_text(json.dumps({
        "apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration",
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                           "x509": {"clientCAFile": f"{pki}/ca.crt"}},
        "authorization": {"mode": "Webhook"}, "tlsCertFile": f"{pki}/kubelet-server.crt",
        "tlsPrivateKeyFile": f"{pki}/kubelet-server.key", "address": ADDRESS,
        # Of its own, too: the kubelet of another cluster on this machine would sweep what it doesn't know.
        "podLogsDir": f"{folder}/logs",
        "containerRuntimeEndpoint": f"unix://{folder}/containerd.sock",
        "cgroupDriver": "cgroupfs", "cgroupRoot": node.group, "failCgroupV1": False, "failSwapOn": False,
        "enforceNodeAllocatable": [], "makeIPTablesUtilChains": False,
        "clusterDNS": [DNS_CLUSTER_IP], "clusterDomain": DNS_DOMAIN, "resolvConf": f"{folder}/resolv.conf",
        # The machine's disk and memory are its owner's: pods are not evicted for what others took of them.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "nodefs.inodesFree": "1%",
                         "imagefs.available": "1%"},
        "imageGCHighThresholdPercent": 100, "imageGCLowThresholdPercent": 99}))


def _may_lower_oom():
    """Whether this process may make others less likely to be killed than it is: runc would, and fails where it may not."""
    with open("/proc/self/status", encoding="ascii") as status:
        effective = next(int(line.split()[1], 16) for line in status if line.startswith("CapEff"))
    return bool(effective >> 24 & 1) and os.geteuid() == 0  # CAP_SYS_RESOURCE


CONTAINERD = """version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
address = "{folder}/containerd.sock"
[ttrpc]
address = "{folder}/containerd.sock.ttrpc"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{pause}"
restrict_oom_score_adj = {restrict_oom}
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{cni}"
conf_dir = "{folder}/cni"
"""
