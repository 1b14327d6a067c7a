package journal

// FaultsOf is what is wrong with a stream.
var FaultsOf = faultsOf

// Redact takes addresses out of a text.
var Redact = redact

// Kill ends the server of a member as abruptly as that is possible in one process.
func (c *Cluster) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running != nil {
		c.running.server.Shutdown()
	}
}
