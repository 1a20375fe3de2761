package sim

import "slices"

// Shrink makes a failing schedule smaller: it takes out faults and liars, and
// calms network and clocks, as long as fails still says yes of what is left.
func Shrink(s *Schedule, fails func(*Schedule) bool) *Schedule {
	best := *s
	for again := true; again; {
		again = false
		for _, smaller := range smallerThan(best) {
			if fails(&smaller) {
				best, again = smaller, true
				break
			}
		}
	}
	return &best
}

// smallerThan lists schedules with one thing less.
func smallerThan(s Schedule) []Schedule {
	var list []Schedule
	add := func(change func(*Schedule)) {
		smaller := s
		change(&smaller)
		list = append(list, smaller)
	}
	for i := range s.Faults {
		add(func(t *Schedule) { t.Faults = slices.Delete(slices.Clone(s.Faults), i, i+1) })
	}
	for i := range s.Liars {
		add(func(t *Schedule) { t.Liars = slices.Delete(slices.Clone(s.Liars), i, i+1) })
	}
	if s.Loss > 0 {
		add(func(t *Schedule) { t.Loss = 0 })
	}
	if s.Twice > 0 {
		add(func(t *Schedule) { t.Twice = 0 })
	}
	if s.Deaf > 0 {
		add(func(t *Schedule) { t.Deaf = 0 })
	}
	if s.Slow > 0 {
		add(func(t *Schedule) { t.Slow = 0 })
	}
	if slices.ContainsFunc(s.Skew, func(by int64) bool { return by != 0 }) {
		add(func(t *Schedule) { t.Skew = make([]int64, len(s.Skew)) })
	}
	if s.Equal.On {
		add(func(t *Schedule) { t.Equal = equals{} })
	}
	if s.Effects != "" {
		add(func(t *Schedule) { t.Effects = "" })
	}
	if s.Checked.On {
		add(func(t *Schedule) { t.Checked = checked{} })
	}
	if s.Single {
		add(func(t *Schedule) { t.Single = false })
	}
	if s.Array.On {
		add(func(t *Schedule) { t.Array = array{} })
		if slices.ContainsFunc(s.Array.Late, func(late int) bool { return late != 0 }) {
			add(func(t *Schedule) { t.Array.Late = make([]int, len(s.Array.Late)) })
		}
	}
	if s.slips() {
		add(func(t *Schedule) { t.Slips = make([]slip, len(s.Slips)) })
	}
	if s.Truth != endsWell {
		add(func(t *Schedule) { t.Truth = endsWell })
	}
	return list
}

// ShrinkFailure shrinks a schedule that broke an invariant, so that the same one
// breaks.
func ShrinkFailure(s *Schedule, invariant string) *Schedule {
	return Shrink(s, func(t *Schedule) bool {
		r := Run(t, nil, false)
		return r.Failure != nil && r.Failure.Invariant == invariant
	})
}
