# etcd, the API server, the controllers, the scheduler and cluster DNS.
# shellcheck shell=bash

start_control_plane() {
  # Its data ends with the cluster, so it need not wait for the disk.
  start etcd "$kube" etcd --data-dir etcd --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 \
    --initial-cluster default=http://127.0.0.1:2380
  start_apiserver
  until_true 60 kubectl get --raw /readyz
  start controllers "$kube" kube-controller-manager --kubeconfig=controllers.kubeconfig \
    --authentication-kubeconfig=controllers.kubeconfig --authorization-kubeconfig=controllers.kubeconfig \
    --service-account-private-key-file=pki/sa.key --root-ca-file=pki/ca.crt --use-service-account-credentials \
    --cluster-signing-cert-file=pki/ca.crt --cluster-signing-key-file=pki/ca.key --leader-elect=false
  start scheduler "$kube" kube-scheduler --kubeconfig=scheduler.kubeconfig \
    --authentication-kubeconfig=scheduler.kubeconfig --authorization-kubeconfig=scheduler.kubeconfig --leader-elect=false
  start_dns
}

start_apiserver() {
  start apiserver "$kube" kube-apiserver --etcd-servers=http://127.0.0.1:2379 \
    --secure-port=6443 --advertise-address="$node" --allow-privileged=true --service-cluster-ip-range="$services" \
    --tls-cert-file=pki/apiserver.crt --tls-private-key-file=pki/apiserver.key --client-ca-file=pki/ca.crt \
    --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=pki/sa.key --service-account-signing-key-file=pki/sa.key \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --kubelet-preferred-address-types=InternalIP --kubelet-certificate-authority=pki/ca.crt \
    --kubelet-client-certificate=pki/kubelet-client.crt --kubelet-client-key=pki/kubelet-client.key \
    --requestheader-client-ca-file=pki/ca.crt --requestheader-allowed-names=front-proxy-client \
    --proxy-client-cert-file=pki/aggregator.crt --proxy-client-key-file=pki/aggregator.key \
    --requestheader-extra-headers-prefix=X-Remote-Extra- --requestheader-group-headers=X-Remote-Group \
    --requestheader-username-headers=X-Remote-User
}

start_dns() {
  cat >Corefile <<Y
.:53 {
  bind $node
  errors
  kubernetes cluster.local in-addr.arpa {
    kubeconfig $run/dns.kubeconfig
  }
  cache 5
}
Y
  start coredns "$kube" coredns -conf Corefile
}
