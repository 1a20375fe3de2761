package sim

import "math/bits"

// source is a stream of numbers that all follow from a seed (SplitMix64: Steele,
// Lea, Flood 2014). Every link, disk and host has its own, so that a fault that is
// taken out of a schedule leaves the others' luck as it was.
type source uint64

func newSource(seed uint64, stream int) source {
	s := source(seed)
	s = source(s.next() ^ uint64(stream)*0xd1342543de82ef95)
	return source(s.next())
}

func (s *source) next() uint64 {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// below returns a number from 0 to n-1.
func (s *source) below(n int) int {
	hi, _ := bits.Mul64(s.next(), uint64(n))
	return int(hi)
}

// until returns a time from 0 to n-1 milliseconds.
func (s *source) until(n int64) int64 { return int64(s.below(int(n))) }

// chance is true in so many of a hundred cases.
func (s *source) chance(percent int) bool { return s.below(100) < percent }
