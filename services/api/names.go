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
	// BMHLabel on an Agent names the BareMetalHost of the same machine (written by bmac alone).
	BMHLabel = "agent-install.openshift.io/bmh"
	// CleaningAnnotation on an Agent is metadata when its disk is to be wiped of partition tables and signatures before a cluster gets it
	// (written by bmac alone, from spec.automatedCleaningMode).
	CleaningAnnotation = "slipway.io/automated-cleaning-mode"
	// BMACFinalizer keeps a BareMetalHost, and its machine on, until bmac has let its Agent go.
	BMACFinalizer = "bmac.agent-install.openshift.io/deprovision"
	// Finalizer of Slipway's controllers.
	Finalizer = "slipway.io/finalizer"
)

// Annotations on a BareMetalHost; each has one writer.
const (
	// BootImageAnnotation is written by bmac: BootImageInstalled when the host's disk has its operating system and is what is to boot
	// next. Without it the discovery image is.
	BootImageAnnotation = "slipway.io/boot-image"
	BootImageInstalled  = "installed"
	// MediumEjectedAnnotation is written by the host's controller as soon as no medium is left in the host: when, RFC 3339.
	MediumEjectedAnnotation = "slipway.io/medium-ejected"
	// BootCorrectionAnnotation is written by bmac: how often the installed host came back into the discovery image, a number.
	BootCorrectionAnnotation = "slipway.io/boot-correction"
	// BootCorrectedAnnotation is written by the host's controller: which BootCorrectionAnnotation it answered with a start from the disk.
	BootCorrectedAnnotation = "slipway.io/boot-corrected"
	// InstructionAnnotation is written by bmac on a host without a BMC: what people have to do. Its URL has a token.
	InstructionAnnotation = "slipway.io/instruction"
	// AwaitedAnnotation is written by bmac: why there is no discovery image for the host.
	AwaitedAnnotation = "slipway.io/awaited-image"
	// BootMethodAnnotation is written by the host's controller: which way the host boots its image, and why this one.
	BootMethodAnnotation = "slipway.io/boot-method"
	// BootMethodWantedAnnotation is a user's: virtual-media, http or pxe, whatever the BMC says that it can do.
	BootMethodWantedAnnotation = "slipway.io/boot-method-wanted"
	// AssetTagAnnotation on a HardwareData is the machine's, which the kind has no field for.
	AssetTagAnnotation = "slipway.io/asset-tag"
	// BMCCAAnnotation is a user's: the ConfigMap with the CA (key ca.crt) that signed the BMC's certificate.
	BMCCAAnnotation = "slipway.io/bmc-ca"
	// SiteBMCCA is the ConfigMap in the appliance's namespace with the CA of all BMCs (key ca.crt).
	SiteBMCCA = "bmc-ca"
	// RebootAnnotation of the API; a suffix after a slash names who wants it.
	RebootAnnotation = "reboot.metal3.io"
	// RebootAnnotationBMAC is how bmac asks for a reboot.
	RebootAnnotationBMAC = RebootAnnotation + "/bmac"
	// InspectAnnotation of the API: empty to inspect again, disabled for never.
	InspectAnnotation = "inspect.metal3.io"
	// PausedAnnotation of the API.
	PausedAnnotation = "baremetalhost.metal3.io/paused"
	// DetachedAnnotation of the API.
	DetachedAnnotation = "baremetalhost.metal3.io/detached"
)

// Annotations on an InfraEnv that approve hosts which nobody declared; all are a user's.
const (
	// ApproveCIDRsAnnotation lists networks, between commas or spaces; a host that registers from one of them is approved.
	ApproveCIDRsAnnotation = "slipway.io/approve-cidrs"
	// ApproveSerialsAnnotation lists serial numbers of machines.
	ApproveSerialsAnnotation = "slipway.io/approve-serials"
	// ApproveTokenAnnotation names a Secret of the InfraEnv's namespace whose key token a host has to show.
	ApproveTokenAnnotation = "slipway.io/approve-token-secret"
	// ApprovalPoliciesCondition of an InfraEnv says which of them are in force; False has in words what to mend.
	ApprovalPoliciesCondition = "ApprovalPolicies"
	PoliciesReason            = "InForce"
	InvalidPolicyReason       = "InvalidPolicy"
)

// PowerControlledCondition of an Agent says who switches its machine on and off; False has in words what people have to do.
const (
	PowerControlledCondition = "PowerControlled"
	// PowerBMCReason: a BMC does.
	PowerBMCReason = "BMC"
	// PowerWaitingReason: the installed host's reboot waits for its BMC to eject the medium.
	PowerWaitingReason = "WaitingForEjection"
	// PowerCorrectedReason: the installed host came back into the discovery image and is started from its disk.
	PowerCorrectedReason = "BootCorrected"
	// PowerNoBMCReason: people do, and have nothing to do now.
	PowerNoBMCReason = "NoBMC"
	// PowerBootDiscoveryReason: people have to boot the discovery image.
	PowerBootDiscoveryReason = "BootDiscoveryImage"
	// PowerBootDiskReason: people have to boot the disk.
	PowerBootDiskReason = "BootDisk"
)

// DiskCleanedCondition of an Agent says whether its installation disk was wiped since a cluster had it.
const (
	DiskCleanedCondition = "DiskCleaned"
	CleanedReason        = "Cleaned"
	// CleaningFailedReason has in words why; it is tried again.
	CleaningFailedReason = "CleaningFailed"
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
