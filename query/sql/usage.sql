-- The figures of a range and of what it is compared with, by bar and agent, and its Playground tests.
[[template "branches" .Branches]]
FORMAT Native
