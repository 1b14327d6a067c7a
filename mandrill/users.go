package mandrill

import "context"

// User describes the account of an API key.
type User struct {
	Username    string `json:"username"`
	PublicID    string `json:"public_id"`
	CreatedAt   Time   `json:"created_at"`
	Reputation  int    `json:"reputation"`   // from 0 to 100; 75 is usual
	HourlyQuota int    `json:"hourly_quota"` // messages
	Backlog     int    `json:"backlog"`      // messages that wait for the quota
}

// User returns the account of the key.
func (c *Client) User(ctx context.Context) (User, error) {
	return call[User](ctx, c, "users/info", nil)
}
