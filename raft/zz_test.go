package raft
import ("testing";"os";"strconv")
func TestZZ(t *testing.T){
 n,_:=strconv.Atoi(os.Getenv("SEEDS")); st,_:=strconv.Atoi(os.Getenv("STEPS"))
 if n==0 {t.Skip()}
 base,_:=strconv.Atoi(os.Getenv("BASE"))
 for s:=0;s<n;s++{ runChaos(t,uint64(base+s),st)}
 t.Log(zzStats)
}
var zzStats = map[string]int{}

func zz(c *chaos){ zzStats["committed"]+=len(c.committed); zzStats["leaders"]+=len(c.leaders); 
for _,m:=range c.members{ if m.raft!=nil{ zzStats["rej"]+=int(m.raft.counts.Rejections); zzStats["dropped"]+=int(m.raft.counts.Dropped); zzStats["stepdowns"]+=int(m.raft.counts.StepDowns)}; zzStats["lives"]+=1}
zzStats["reads"]+=int(c.lastRead)-len(c.registered)
if len(c.committed)==0 {zzStats["empty"]++}
}
