package runner

// lie appends to out what is said in place of o: by a node without Config.Lie, o
// itself. A testnet's liar says something else than its machine did, or several
// things at once, of which its machine is told the first.
func (l *loop) lie(out []outgoing, o outgoing) []outgoing {
	if l.r.cfg.Lie == nil || o.statement.Kind == 0 {
		return append(out, o)
	}
	for i, value := range l.r.cfg.Lie(o.statement) {
		lie := o
		lie.statement.Value = value
		if i > 0 {
			lie.self = -1
		}
		out = append(out, lie)
	}
	return out
}
