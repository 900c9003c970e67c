package calendar

// BillingPeriod is one month of billing: the days from First up to, but not
// including, Next, which begins the period after it.
type BillingPeriod struct {
	First, Next Date
	anchorDay   int
}

// BillingPeriodOf returns the billing period that a day lies in. Periods begin
// on anchorDay, a day of the month from 1 to 31; in a month without that day
// they begin on its last.
func BillingPeriodOf(day Date, anchorDay int) BillingPeriod {
	first := monthDay(day.Year, int(day.Month), anchorDay)
	if first.Compare(day) > 0 {
		first = monthDay(day.Year, int(day.Month)-1, anchorDay)
	}
	return billingPeriod(first, anchorDay)
}

// Shift returns the period n periods later.
func (p BillingPeriod) Shift(n int) BillingPeriod {
	return billingPeriod(monthDay(p.First.Year, int(p.First.Month)+n, p.anchorDay), p.anchorDay)
}

func billingPeriod(first Date, anchorDay int) BillingPeriod {
	return BillingPeriod{
		First:     first,
		Next:      monthDay(first.Year, int(first.Month)+1, anchorDay),
		anchorDay: anchorDay,
	}
}
