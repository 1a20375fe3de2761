package sim

// serves reports whether the liar hands out blocks that it claims to hold. One that
// withholds its result follows the protocol to the letter, claims to hold the blocks
// by its report and its prepare, and hands them to nobody: members that need them
// must find another who holds them.
func (l *liar) serves() bool { return l.kind != LieWithhold && l.src.chance(50) }
