// The process that holds a pod's namespaces in the test cluster; it needs the standard library alone.
module cluster.test/pause

go 1.26.3
