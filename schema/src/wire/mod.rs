//! Layouts shared by the BPF programs and the agent: `repr(C)`, explicit padding, sizes asserted at compile time.
