# Versions, addresses and folders of the cluster.
# shellcheck shell=bash

kubernetes=1.34.4   # the last minor whose kubelet runs on cgroup v1 without being asked to
pause=birbnest.local/pause:1
kube=$cache/kube/$kubernetes-$(content_of "$here"/{main.go,go.mod,go.sum,networkpolicies/{command,rules}.go})/kube

run=$cache/cluster
namespace=birbnest
cgroup=birbnest
host=10.98.0.1        # this machine, as pods see it
node=10.98.0.2
services=10.96.0.0/16
pods=10.244.0.0/24
volumes=48            # directories ready to be claimed

ctr() { command ctr -a "$run/containerd.sock" -n k8s.io "$@"; }
kubectl() { "$kube" kubectl --kubeconfig "$run/admin.kubeconfig" "$@"; }
