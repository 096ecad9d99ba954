//! What the tests against real peers share: workspaces, odfs processes, Kubo, Helia and network namespaces.
