<?php
/* What check_reload_status starts for the event "filter reload". */

require_once('config.inc');
require_once('filter.inc');
double_delay();
double_reread();
filter_configure_sync();
