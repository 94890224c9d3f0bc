# The cluster's own certificate authority, and a kubeconfig for each component.
# shellcheck shell=bash

issue_credentials() {
  openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=kubernetes-ca -keyout pki/ca.key -out pki/ca.crt 2>/dev/null
  openssl genrsa -out pki/sa.key 2048 2>/dev/null
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:10.96.0.1,IP:$node"
  certificate admin /O=system:masters/CN=admin
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate controllers /CN=system:kube-controller-manager
  certificate scheduler /CN=system:kube-scheduler
  certificate kubelet /O=system:nodes/CN=system:node:node1 "DNS:node1,IP:$node"
  certificate proxy /CN=system:kube-proxy
  certificate dns /O=system:masters/CN=coredns
  certificate policies /O=system:masters/CN=network-policies
  certificate aggregator /CN=front-proxy-client
  local name
  for name in admin controllers scheduler kubelet proxy dns policies; do kubeconfig "$name"; done
}

certificate() { # NAME SUBJECT [SUBJECT-ALTERNATIVE-NAMES]
  openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "pki/$1.key" -out "pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "pki/$1.csr" -CA pki/ca.crt -CAkey pki/ca.key -CAcreateserial -days 365 -out "pki/$1.crt" \
    -extfile <(echo "subjectAltName=${3:-DNS:$1}"; echo extendedKeyUsage=serverAuth,clientAuth) 2>/dev/null
}

# Certificates are embedded, so that a copy of the file works anywhere on this machine.
kubeconfig() { # NAME
  cat >"$1.kubeconfig" <<Y
apiVersion: v1
kind: Config
clusters:
  - name: birbnest
    cluster: {server: "https://$node:6443", certificate-authority-data: $(base64 -w0 pki/ca.crt)}
users:
  - name: $1
    user: {client-certificate-data: $(base64 -w0 "pki/$1.crt"), client-key-data: $(base64 -w0 "pki/$1.key")}
contexts:
  - name: birbnest
    context: {cluster: birbnest, user: $1}
current-context: birbnest
Y
  chmod 600 "$1.kubeconfig"
}
