package dhcp

// commits are decisions whose records have to be on disk before their answers leave.
type commits struct {
	packets   []arrival
	decisions []Decision
}

// record puts the leases of decisions on disk, all with one sync, and only then sends. What cannot be recorded stays unanswered:
// the client asks again. The error is that of a log that takes nothing more.
func (s *Server) record(decided commits) error {
	if len(decided.packets) == 0 {
		return nil
	}
	var records []Lease
	for _, d := range decided.decisions {
		records = append(records, d.Records...)
	}
	if err := s.leases.Append(records); err != nil {
		s.metrics.failed.Add(float64(len(decided.packets)))
		if broken := s.leases.Broken(); broken != nil {
			return broken
		}
		s.log.Error("leases could not be recorded, their clients get no answer", "err", err)
		return nil
	}
	for i, d := range decided.decisions {
		s.tell(decided.packets[i], d)
		s.send(decided.packets[i], d.Reply)
	}
	s.compact()
	return nil
}

// compact holds the engine's lock for a copy of the leases only, not while the disk is at work.
func (s *Server) compact() {
	s.mu.Lock()
	if !s.leases.Long(s.engine.leases) {
		s.mu.Unlock()
		return
	}
	live := s.engine.leases.Leases()
	s.mu.Unlock()
	if err := s.leases.Compact(live); err != nil {
		s.log.Warn("lease log stays as long as it is", "err", err)
	}
}
