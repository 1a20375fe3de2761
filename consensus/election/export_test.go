package election

// NegLog is negLog, for tests of its edges.
var NegLog = negLog
