import BulkheadFront
import Glibc

exit(FrontProcess.main())
