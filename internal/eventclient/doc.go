// Package eventclient sends usage events and directory changes to Agentmeter's
// write side, as the importer and the simulator do.
//
// In flow batches of events as JSON lines; out comes, for each batch, how many
// were accepted and which were not and why. It promises that an answer accounts
// for every item of its batch, or there is an error instead; that what may have
// been lost on the way is sent again, which is always safe because an id counts
// once; that it gives up after a stated time; and that it never sends the token
// anywhere but to the endpoint that it was given for.
//
// A server that restarts may come back at another address, so the endpoint is
// asked for again before each retry.
package eventclient
