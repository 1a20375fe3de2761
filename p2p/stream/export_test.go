package stream

// ReadFrame is the decoder of what peers send.
var ReadFrame = readFrame
