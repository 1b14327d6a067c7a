package natsfiles

// provenVersions are the versions of nats-server whose file layout TestLayout has proven to be the one described here. To add
// a version, link it and run that test: it builds a store with the linked server and compares every assumption.
var provenVersions = map[string]bool{
	"2.15.2": true,
}

// Reason says why files were not repaired. It is the value of a metric's label.
type Reason string

// The reasons.
const (
	UnknownVersion Reason = "unknown_version"
	TooMuchDamage  Reason = "too_much_damage"
)

const (
	// A damaged disk loses sectors here and there. When more than one in damagedFraction records cannot be read, the
	// explanation is another layout rather than damage, and what looks damaged may be good data.
	damagedFraction = 10
	// allowedRecords is how many damaged records damage always explains: in a small block a single one is more than a tenth.
	allowedRecords = 4
)

// damageExplains reports whether damage is the explanation for records that cannot be read beside so many intact ones.
func damageExplains(damaged, intact int) bool {
	return damaged <= max(allowedRecords, (damaged+intact)/damagedFraction)
}
