package controlplane

// EncryptionSecret holds in its key EncryptionFile how an API server encrypts Secrets before etcd gets them, as an
// EncryptionConfiguration (apiserver.config.k8s.io/v1). The names are HyperShift's.
const (
	EncryptionSecret = "kas-secret-encryption-config-file"
	EncryptionFile   = "config.yaml"
)

// apiServerEncryption looks at the file every minute: another configuration needs no restart.
func apiServerEncryption() (args []string, mount Mount) {
	return []string{"--encryption-provider-config=$(MOUNT:encryption)/" + EncryptionFile, "--encryption-provider-config-automatic-reload=true"},
		Mount{Name: "encryption", Secret: EncryptionSecret, Keys: []string{EncryptionFile}, Reloads: true}
}
