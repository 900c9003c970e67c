-- What the whole workspace used, by bar: what figures that are held must add up to.
[[template "branches" .Branches]]
FORMAT Native
