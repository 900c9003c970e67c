// Package calendar does all the calendar arithmetic of the figures: it turns
// presets, dates and instants into half-open UTC intervals, cuts them into the
// bars of a grain, and finds what they are compared with.
//
// In flow words of people (a preset, two dates, a zone's name), out flow
// instants. Nothing here reads a clock or a table: the caller says what time
// it is, so the same question always has the same answer.
//
// It promises that the bars of an interval tile it exactly, first and last
// clipped to it; that every bar of a coarser grain is a union of bars of each
// finer one; and that days have the length that their zone gives them, 23 and
// 25 hours included. Days, weeks and months come from the IANA zone database
// and never from a fixed offset: the system's copy if there is one (kept
// current by its owner), else the one built into the binary.
package calendar
