package sim

// runs is what the liar's runs end in. One with a false result follows the protocol
// with it: it binds itself, shows its report, holds the blocks, and votes for what
// it believes to be valid.
func (l *liar) runs(honest *stock) *stock {
	if l.kind == LieFalseReport || l.kind == LieFalseForm || l.kind == LieBabble && l.src.chance(50) {
		if l.w.plan.Array.On {
			return &arrayLie
		}
		return &lie
	}
	return honest
}
