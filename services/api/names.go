package api

const (
	// AgentMachineRefLabel on an Agent names the AgentMachine that claimed it (written by the AgentMachine controller alone).
	AgentMachineRefLabel = "agentMachineRef"
	// AgentMachineRefNamespace is the annotation beside AgentMachineRefLabel.
	AgentMachineRefNamespace = "agentMachineRefNamespace"
	// InfraEnvLabel on an Agent names its InfraEnv.
	InfraEnvLabel = "infraenvs.agent-install.openshift.io"
	// ImageAnnotation on an InfraEnv is another value whenever its images are others (written by the InfraEnv controller alone).
	ImageAnnotation = "slipway.io/image-generation"
	// ImageTypeAnnotation on an InfraEnv is full-iso or minimal-iso: what status.isoDownloadURL has. The served version of the API has
	// no spec.imageType.
	ImageTypeAnnotation = "slipway.io/image-type"
	// TokenSecretLabel marks the Secrets with the Ignition token of a NodePool; the value is the NodePool's name.
	TokenSecretLabel = "hypershift.openshift.io/ignition-token-for"
	// HostedClusterAnnotation on an object in a control plane namespace is <namespace>/<name> of its HostedCluster.
	HostedClusterAnnotation = "hypershift.openshift.io/cluster"
	// NodePoolAnnotation on an object in a control plane namespace is <namespace>/<name> of its NodePool.
	NodePoolAnnotation = "hypershift.openshift.io/nodePool"
	// ProviderIDPrefix comes before the Agent's name in a Node's providerID.
	ProviderIDPrefix = "agent://"
	// Finalizer of Slipway's controllers.
	Finalizer = "slipway.io/finalizer"
)

// States of an Agent (status.debugInfo.state), the words of the assisted service's host state machine.
const (
	StateDiscoveringUnbound         = "discovering-unbound"
	StateKnownUnbound               = "known-unbound"
	StateInsufficientUnbound        = "insufficient-unbound"
	StateDisconnectedUnbound        = "disconnected-unbound"
	StateBinding                    = "binding"
	StateDiscovering                = "discovering"
	StateKnown                      = "known"
	StateInsufficient               = "insufficient"
	StateDisconnected               = "disconnected"
	StateInstalling                 = "installing"
	StateInstallingInProgress       = "installing-in-progress"
	StateInstallingPendingUser      = "installing-pending-user-action"
	StateAddedToExistingCluster     = "added-to-existing-cluster"
	StateUnbinding                  = "unbinding"
	StateUnbindingPendingUserAction = "unbinding-pending-user-action"
	StateReclaiming                 = "reclaiming"
	StateReclaimingRebooting        = "reclaiming-rebooting"
	StateError                      = "error"
)
