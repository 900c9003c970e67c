package clickhouse

import (
	"fmt"
	"slices"
	"strings"
)

// Names of the id look-up of earlier releases, which migrations 3 and 5 made, and
// of what it and today's are called while one takes the other's place. Those migrations
// are gone: a new database would get the earlier table only to lose it, maybe while
// another process was moving its ids.
const (
	EarlierIDs    = "usage_ids"
	EarlierBefore = "usage_ids_before"
	EarlierView   = "usage_ids_view"
	NextIDs       = "usage_id_places_next"
	IDsView       = IDs + "_view"
)

// OnlyWhileMoving is whether a table or view is there only before ids are moved, or while
// they are.
func OnlyWhileMoving(name string) bool {
	return slices.Contains([]string{EarlierIDs, EarlierBefore, EarlierView, NextIDs}, name)
}

// IDMove are the statements by which today's id look-up takes the place of that of
// earlier releases, in this order.
//
// A view whose table is gone refuses every append. So nothing is counted from
// Aside until RetireView, by rollups of whichever release, and a rollup
// of today's finds no look-up before it holds everything.
type IDMove struct {
	Aside      string // takes the earlier table's name: nothing is appended from here on
	Next       string // makes the table that is to be filled
	Publish    string // gives the filled table its name
	Table      string // makes it where a server has none yet
	View       string // fills it from here on
	RetireView string // removes the earlier view: blocks are appended again
	Retire     []string
	// Unfinished removes a table that was to be filled by one who came too late.
	Unfinished string
}

// Statements are all of them.
func (m IDMove) Statements() []string {
	return append([]string{m.Aside, m.Next, m.Publish, m.Table, m.View, m.RetireView, m.Unfinished}, m.Retire...)
}

// MoveOfIDs are the statements for one server, or for a cluster.
func MoveOfIDs(cluster *Cluster) (IDMove, error) {
	text, err := Migrations.ReadFile("00009_id_places.sql")
	if err != nil {
		return IDMove{}, fmt.Errorf("read migration: %w", err)
	}
	made := statementsOf(string(text))
	table, view := made[0], made[1]
	on := ""
	if cluster != nil {
		on = cluster.on()
		// Its path in Keeper is that of the name it will have.
		if table, err = cluster.statement(table); err != nil {
			return IDMove{}, err
		}
		if view, err = cluster.statement(view); err != nil {
			return IDMove{}, err
		}
	}
	// IF EXISTS: on a cluster some servers may have done it, and others not.
	move := IDMove{
		Aside:      "RENAME TABLE IF EXISTS " + EarlierIDs + " TO " + EarlierBefore + on,
		Next:       strings.Replace(table, "EXISTS "+IDs, "EXISTS "+NextIDs, 1),
		Publish:    "RENAME TABLE IF EXISTS " + NextIDs + " TO " + IDs + on,
		Table:      table,
		View:       view,
		RetireView: "DROP VIEW IF EXISTS " + EarlierView + on + " SYNC",
		Unfinished: "DROP TABLE IF EXISTS " + NextIDs + on + " SYNC",
	}
	if cluster != nil {
		move.Retire = append(move.Retire, "DROP TABLE IF EXISTS "+ReadsDatabase(cluster.Database)+"."+EarlierIDs+on+" SYNC")
	}
	move.Retire = append(move.Retire, "DROP TABLE IF EXISTS "+EarlierBefore+on+" SYNC") // last: it says that something is left to do
	return move, nil
}
