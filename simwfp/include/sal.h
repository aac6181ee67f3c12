// Annotations of the Windows headers, as far as the driver writes them: checked by MSVC, nothing here.
#ifndef SIM_SAL_H
#define SIM_SAL_H

#define _In_
#define _In_opt_
#define _In_reads_bytes_(size)
#define _In_reads_bytes_opt_(size)
#define _Inout_
#define _Inout_opt_
#define _Out_
#define _Out_writes_bytes_(size)
#define _Outptr_
#define _Must_inspect_result_
#define _IRQL_requires_(level)
#define _IRQL_requires_max_(level)
#define _IRQL_requires_same_
#define _Function_class_(name)
#define _Use_decl_annotations_

#endif
