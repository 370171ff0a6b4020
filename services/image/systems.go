package image

import (
	"fmt"
	"sync"
)

// systems are the machine OSes that there are; more come while the appliance runs.
type systems struct {
	mu  sync.RWMutex
	all []*OS
}

// Add makes an OS image available. It is never taken away: hosts may be reading it.
func (s *systems) Add(image *OS) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.all {
		if other.Version == image.Version && other.CPUArchitecture == image.CPUArchitecture {
			return fmt.Errorf("OS image %s for %s is there twice", image.Version, image.CPUArchitecture)
		}
	}
	s.all = append(s.all, image)
	return nil
}

// OS finds an OS image by its own version, else by that of the OpenShift that it belongs to; an empty version means the first
// of the architecture.
func (s *systems) OS(version, architecture string) (*OS, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var second *OS
	for _, image := range s.all {
		switch {
		case image.CPUArchitecture != architecture:
		case version == "" || image.Version == version:
			return image, true
		case second == nil && image.OpenShiftVersion == version:
			second = image
		}
	}
	return second, second != nil
}
