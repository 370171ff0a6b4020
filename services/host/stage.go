package host

import (
	"slices"
	"time"

	agentv1beta1 "github.com/openshift/assisted-service/api/v1beta1"
	"github.com/openshift/assisted-service/models"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Stages of an installation in their order.
func Stages() []models.HostStage {
	return []models.HostStage{
		models.HostStageStartingInstallation, models.HostStageInstalling, models.HostStageWritingImageToDisk,
		models.HostStageRebooting, models.HostStageWaitingForIgnition, models.HostStageConfiguring,
		models.HostStageJoined, models.HostStageDone,
	}
}

func stageIndex(stage models.HostStage) int { return slices.Index(Stages(), stage) }

func afterReboot(a *agentv1beta1.Agent) bool {
	return stageIndex(a.Status.Progress.CurrentStage) >= stageIndex(models.HostStageRebooting)
}

// stageLimit is how long a stage may take; 0 is for ever.
func stageLimit(stage models.HostStage) time.Duration {
	switch stage {
	case models.HostStageStartingInstallation, models.HostStageWritingImageToDisk:
		return 30 * time.Minute
	case models.HostStageRebooting:
		return 40 * time.Minute
	case models.HostStageWaitingForIgnition:
		return 24 * time.Hour
	case models.HostStageDone:
		return 0
	}
	return time.Hour
}

// setStage goes to a stage that is not behind the current one; it says whether anything changed.
func setStage(a *agentv1beta1.Agent, stage models.HostStage, info string, now time.Time) bool {
	progress := &a.Status.Progress
	if progress.CurrentStage == stage && progress.ProgressInfo == info {
		return false
	}
	at := metav1.NewTime(now.UTC().Truncate(time.Second))
	if progress.CurrentStage != stage {
		progress.StageStartTime = &at
	}
	progress.CurrentStage, progress.ProgressInfo, progress.StageUpdateTime = stage, info, &at
	progress.ProgressStages = Stages()
	progress.InstallationPercentage = int64((stageIndex(stage) + 1) * 100 / len(Stages()))
	return true
}

// stageExpired says that the current stage has taken too long.
func stageExpired(a *agentv1beta1.Agent, now time.Time) bool {
	progress := a.Status.Progress
	limit := stageLimit(progress.CurrentStage)
	since := progress.StageStartTime
	if progress.CurrentStage == models.HostStageWritingImageToDisk {
		since = progress.StageUpdateTime
	}
	return limit > 0 && since != nil && now.Sub(since.Time) > limit
}
