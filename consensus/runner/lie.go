package runner

// lie lets a testnet's liar say something else than its machine did. A node
// without Config.Lie never gets past the first line.
func (l *loop) lie(o *outgoing) {
	if l.r.cfg.Lie == nil || o.statement.Kind == 0 {
		return
	}
	o.statement.Value = l.r.cfg.Lie(o.statement)
}
