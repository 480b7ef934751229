"""``memory=``: stores that other CPUs see late, and loads that come early."""
